/*
 * Fuzz target: a configuration file of any bytes. It is either taken, and then every string is
 * text and every bound holds, or refused with a sentence that names the file and the line.
 */
#include "conf.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct conf *c = NULL;
    struct fail f = {0};
    log_setup(LOG_ERROR, false);
    int fd = memfd_create("conf", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int rc = conf_load(path, &c, &f);
    close(fd);
    if (rc < 0) {
        if (rc == E_PROTO && strncmp(f.text, path, strlen(path)) != 0 && f.text[0] != 'O')
            abort();
        return 0;
    }
    if (!*c->data_dir || !str_is_text(c->data_dir, strlen(c->data_dir)) ||
        strlen(c->http_public_url) > 100 || c->http_threads < 0 || c->http_threads > 64 ||
        c->log_level > LOG_DEBUG)
        abort();
    conf_free(c);
    return 0;
}
