/*
 * The broker fixture. It is ready when it says so on stderr; the pipe does not block it when
 * nobody reads on. Its queue settings are mosquitto's own: nothing about max_queued_messages
 * or max_inflight_messages stands in the configuration.
 */
#include "broker.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOSQUITTO "/usr/sbin/mosquitto"
#define READY_MS  30000

static void die(const char *what)
{
    perror(what);
    abort();
}

static int free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, n) < 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &n) < 0)
        die("broker: a free port");
    close(fd);
    return ntohs(sa.sin_port);
}

void broker_init(struct broker *b)
{
    *b = (struct broker){.log_fd = -1};
    strcpy(b->dir, "/tmp/broker.XXXXXX");
    if (!mkdtemp(b->dir))
        die("broker: its folder");
    snprintf(b->config, sizeof(b->config), "%s/mosquitto.conf", b->dir);
}

void broker_file(const struct broker *b, const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", b->dir, name);
    FILE *f = fopen(path, "we");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        die(path);
}

void broker_password(const struct broker *b, const char *user, const char *password)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/passwords", b->dir);
    if (broker_run("mosquitto_passwd", "-b", "-c", path, user, password, (char *)NULL) != 0)
        die("mosquitto_passwd");
}

/* True once it says that it runs; false when it ends before. */
static bool ready(struct broker *b)
{
    char seen[8192];
    size_t n = 0;
    for (;;) {
        struct pollfd p = {.fd = b->log_fd, .events = POLLIN};
        if (poll(&p, 1, READY_MS) != 1)
            return false;
        ssize_t got = read(b->log_fd, seen + n, sizeof(seen) - 1 - n);
        if (got <= 0) {
            fprintf(stderr, "%s\n", n ? seen : "mosquitto said nothing");
            return false;
        }
        n += (size_t)got;
        seen[n] = '\0';
        if (strstr(seen, " running"))
            return true;
        if (n == sizeof(seen) - 1)
            n = 0;
    }
}

static bool launch(struct broker *b)
{
    int log[2];
    if (pipe2(log, O_CLOEXEC) < 0)
        die("broker: pipe");
    fcntl(log[1], F_SETFL, O_NONBLOCK);
    pid_t parent = getpid();
    b->pid = fork();
    if (b->pid < 0)
        die("broker: fork");
    if (b->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || chdir(b->dir) < 0)
            _exit(127);
        dup2(log[1], STDERR_FILENO);
        closefrom(STDERR_FILENO + 1);
        execl(MOSQUITTO, MOSQUITTO, "-c", b->config, (char *)NULL);
        _exit(127);
    }
    close(log[1]);
    b->log_fd = log[0];
    if (ready(b))
        return true;
    broker_halt(b, false);
    return false;
}

void broker_start(struct broker *b, const char *extra)
{
    if (!b->dir[0])
        broker_init(b);
    for (int attempt = 0; attempt < 5; attempt++) { /* somebody else may take the port */
        char text[4096];
        b->port = free_port();
        snprintf(text, sizeof(text),
                 "listener %d 127.0.0.1\n"
                 "user root\n"
                 "persistence true\n"
                 "persistence_location %s/\n"
                 "log_dest stderr\n"
                 "connection_messages false\n"
                 "%s\n",
                 b->port, b->dir, extra ? extra : "allow_anonymous true");
        broker_file(b, "mosquitto.conf", text);
        if (launch(b))
            return;
    }
    fprintf(stderr, "broker: mosquitto does not start\n");
    abort();
}

void broker_halt(struct broker *b, bool politely)
{
    if (b->pid > 0) {
        kill(b->pid, politely ? SIGTERM : SIGKILL);
        waitpid(b->pid, NULL, 0);
    }
    if (b->log_fd >= 0)
        close(b->log_fd);
    b->pid = 0;
    b->log_fd = -1;
}

void broker_resume(struct broker *b)
{
    if (launch(b))
        return;
    fprintf(stderr, "broker: mosquitto does not start again\n");
    abort();
}

void broker_stop(struct broker *b)
{
    broker_halt(b, false);
    if (b->dir[0])
        broker_run("rm", "-rf", b->dir, (char *)NULL);
    b->dir[0] = '\0';
}

int broker_run(const char *program, ...)
{
    const char *argv[64] = {program};
    va_list ap;
    va_start(ap, program);
    for (size_t i = 1; i < 63 && (argv[i] = va_arg(ap, const char *)) != NULL; i++)
        ;
    va_end(ap);
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        closefrom(STDERR_FILENO + 1);
        execvp(program, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
