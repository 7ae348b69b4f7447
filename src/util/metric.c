/*
 * Metrics: one array of atomics, made from the table in util_metrics.def, and the Prometheus text
 * format 0.0.4. Numbers are relaxed atomics: a scrape sees each of them at some recent moment,
 * not all at the same one, which is what Prometheus expects.
 */
#include "util.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum kind { KIND_counter, KIND_gauge, KIND_histogram };

static const struct {
    enum kind kind;
    const char *name, *label, *help;
} rows[METRIC__COUNT] = {
#define METRIC(id, kind, name, label, help) {KIND_##kind, name, label, help},
#include "util_metrics.def"
#undef METRIC
};
static const char *const kind_names[] = {"counter", "gauge", "histogram"};

/* Upper bounds in microseconds, and as Prometheus prints them. */
static const struct {
    int64_t us;
    const char *le;
} buckets[] = {
    {100, "0.0001"},  {250, "0.00025"}, {500, "0.0005"},  {1000, "0.001"},
    {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},  {25000, "0.025"},
    {50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},
    {1000000, "1"},   {2500000, "2.5"}, {5000000, "5"},   {10000000, "10"},
};
#define BUCKETS ARRAY_LEN(buckets)

static struct {
    _Atomic int64_t value; /* of a histogram: the sum in microseconds */
    _Atomic int64_t bucket[BUCKETS + 1];
} g[METRIC__COUNT];

void metric_add(enum metric m, int64_t n)
{
    atomic_fetch_add_explicit(&g[m].value, n, memory_order_relaxed);
}

void metric_set(enum metric m, int64_t v)
{
    atomic_store_explicit(&g[m].value, v, memory_order_relaxed);
}

int64_t metric_get(enum metric m)
{
    return atomic_load_explicit(&g[m].value, memory_order_relaxed);
}

void metric_observe_us(enum metric m, int64_t us)
{
    size_t i = 0;
    while (i < BUCKETS && us > buckets[i].us)
        i++;
    atomic_fetch_add_explicit(&g[m].bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&g[m].value, us, memory_order_relaxed);
}

static void head(struct sbuf *out, const char *name, const char *kind, const char *help)
{
    sbuf_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void render_histogram(struct sbuf *out, size_t m)
{
    const char *name = rows[m].name, *label = rows[m].label;
    const char *comma = *label ? "," : "";
    int64_t total = 0;
    for (size_t i = 0; i <= BUCKETS; i++) {
        total += atomic_load_explicit(&g[m].bucket[i], memory_order_relaxed);
        sbuf_fmt(out, "%s_bucket{%s%sle=\"%s\"} %lld\n", name, label, comma,
                 i < BUCKETS ? buckets[i].le : "+Inf", (long long)total);
    }
    const char *open = *label ? "{" : "", *close = *label ? "}" : "";
    sbuf_fmt(out, "%s_sum%s%s%s %.6f\n", name, open, label, close,
             (double)metric_get((enum metric)m) / 1e6);
    sbuf_fmt(out, "%s_count%s%s%s %lld\n", name, open, label, close, (long long)total);
}

static size_t read_file(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, cap - 1);
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static double start_time;

/* Once: the difference of two clocks trembles, and a changed value would read as a restart. */
static void find_start_time(void)
{
    char stat[1024];
    struct timespec boot, now;
    read_file("/proc/self/stat", stat, sizeof(stat));
    char *p = strrchr(stat, ')'); /* the program's name may hold anything */
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (!p)
        return;
    double since_boot = (double)strtoull(p, NULL, 10) / (double)sysconf(_SC_CLK_TCK);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    clock_gettime(CLOCK_REALTIME, &now);
    double up = (double)boot.tv_sec + (double)boot.tv_nsec / 1e9;
    double wall = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    start_time = wall - up + since_boot;
}

static long open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    long n = -3; /* ".", ".." and the one that reads them */
    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void render_process(struct sbuf *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct rusage use = {0};
    struct rlimit files = {0};
    char statm[128];
    pthread_once(&once, find_start_time);
    getrusage(RUSAGE_SELF, &use);
    getrlimit(RLIMIT_NOFILE, &files);
    read_file("/proc/self/statm", statm, sizeof(statm));
    char *rest = statm;
    long long page = sysconf(_SC_PAGESIZE);
    long long pages = strtoll(rest, &rest, 10), resident = strtoll(rest, &rest, 10);

    head(out, "process_cpu_seconds_total", "counter", "User and system CPU time spent");
    sbuf_fmt(out, "process_cpu_seconds_total %.6f\n",
             (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                 (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
    head(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size");
    sbuf_fmt(out, "process_virtual_memory_bytes %lld\n", pages * page);
    head(out, "process_resident_memory_bytes", "gauge", "Resident memory size");
    sbuf_fmt(out, "process_resident_memory_bytes %lld\n", resident * page);
    head(out, "process_open_fds", "gauge", "Open file descriptors");
    sbuf_fmt(out, "process_open_fds %ld\n", open_fds());
    head(out, "process_max_fds", "gauge", "Most file descriptors that may be open");
    sbuf_fmt(out, "process_max_fds %llu\n", (unsigned long long)files.rlim_cur);
    head(out, "process_start_time_seconds", "gauge", "Start of the process, since the epoch");
    sbuf_fmt(out, "process_start_time_seconds %.3f\n", start_time);
}

void metric_render(struct sbuf *out)
{
    for (size_t i = 0; i < METRIC__COUNT; i++) {
        if (i == 0 || strcmp(rows[i].name, rows[i - 1].name) != 0)
            head(out, rows[i].name, kind_names[rows[i].kind], rows[i].help);
        if (rows[i].kind == KIND_histogram)
            render_histogram(out, i);
        else if (*rows[i].label)
            sbuf_fmt(out, "%s{%s} %lld\n", rows[i].name, rows[i].label,
                     (long long)metric_get((enum metric)i));
        else
            sbuf_fmt(out, "%s %lld\n", rows[i].name, (long long)metric_get((enum metric)i));
    }
    head(out, "otad_build_info", "gauge", "Always 1; the labels say what runs");
    sbuf_fmt(out, "otad_build_info{version=\"%s\",compiler=\"%s\"} 1\n", OTAD_VERSION,
#ifdef __clang__
             "clang"
#else
             "gcc"
#endif
    );
    render_process(out);
}
