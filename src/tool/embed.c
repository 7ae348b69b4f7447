/*
 * embed: build-time program that turns sql/migrations and sql/queries into C.
 *
 *   embed OUT_PREFIX MIGRATIONS_DIR QUERIES_DIR     writes OUT_PREFIX.h and OUT_PREFIX.c
 *
 * A query starts at `-- name: device_by_key :one reader` (kind one, many or exec; reader or
 * writer; optionally scan) and ends at the next such line. Comments are dropped, blanks joined,
 * and PostgreSQL's $1 becomes ?1, because SQLite numbers $1 by first appearance. Every fault of
 * the sources ends the build with file and line. The output depends on the sources alone. This
 * is no SQL parser: it knows quotes, comments and the semicolon, no more.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILES = 1000, MAX_QUERIES = 4000, MAX_PARAMS = 99, NAME_CAP = 64 };

struct query {
    char name[NAME_CAP];
    char *file, *text;
    size_t line;
    int n_params;
    bool writer, scan, rows;
};

struct migration {
    int version;
    char name[NAME_CAP];
    char *text;
};

static struct {
    struct query queries[MAX_QUERIES];
    size_t n_queries;
    struct migration migrations[MAX_FILES];
    size_t n_migrations;
} all;

static _Noreturn void __attribute__((format(printf, 3, 4)))
die(const char *file, size_t line, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s:%zu: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static void *must(void *p)
{
    if (!p) {
        perror("embed");
        exit(1);
    }
    return p;
}

static char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *format(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    return must(text);
}

/* ---- reading ---- */
static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t n = 0, cap = 0;

    if (!f)
        die(path, 0, "cannot open");
    for (;;) {
        if (cap - n < 4096)
            text = must(realloc(text, cap = cap * 2 + 8192));
        size_t got = fread(text + n, 1, cap - n - 1, f);
        if (got == 0)
            break;
        n += got;
    }
    if (ferror(f))
        die(path, 0, "cannot read");
    fclose(f);
    if (memchr(text, 0, n))
        die(path, 0, "holds a NUL byte");
    text[n] = '\0';
    return text;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in dir that end in .sql, sorted by bytes. */
static size_t list_sql(const char *dir, char **ret_names)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    size_t n = 0;

    if (!d)
        die(dir, 0, "cannot open folder");
    while ((e = readdir(d))) {
        size_t len = strlen(e->d_name);

        if (e->d_name[0] == '.' || len < 5 || strcmp(e->d_name + len - 4, ".sql") != 0)
            continue;
        if (n == MAX_FILES)
            die(dir, 0, "more than %d files", MAX_FILES);
        ret_names[n++] = must(strdup(e->d_name));
    }
    closedir(d);
    qsort(ret_names, n, sizeof(*ret_names), by_text);
    return n;
}

static bool is_name(const char *s, size_t n)
{
    if (n == 0 || n >= NAME_CAP || !islower((unsigned char)s[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!islower((unsigned char)s[i]) && !isdigit((unsigned char)s[i]) && s[i] != '_')
            return false;
    return true;
}

/* ---- migrations ---- */
static void add_migration(const char *dir, const char *file)
{
    struct migration *m = &all.migrations[all.n_migrations];
    size_t stem = strlen(file) - 4;
    char *path = format("%s/%s", dir, file);
    int digits = 0;

    while (digits < 4 && isdigit((unsigned char)file[digits]))
        m->version = m->version * 10 + (file[digits++] - '0');
    if (digits != 4 || file[4] != '_' || !is_name(file + 5, stem - 5))
        die(path, 0, "a migration is named NNNN_some_name.sql");
    if (m->version != (int)all.n_migrations + 1)
        die(path, 0, "number %04d where %04zu is next: a gap or a duplicate", m->version,
            all.n_migrations + 1);
    memcpy(m->name, file + 5, stem - 5);
    m->text = read_file(path);
    all.n_migrations++;
    free(path);
}

/* ---- queries ---- */
/* Where a piece of text is copied to; never longer than its source. */
struct copy {
    const char *file;
    size_t line;
    const char *s;
    char *d, *start;
    bool used[MAX_PARAMS + 1], ended;
};

static void skip_comment(struct copy *c)
{
    if (c->s[0] == '-') {
        c->s += strcspn(c->s, "\n");
        return;
    }
    for (c->s += 2; c->s[0] != '*' || c->s[1] != '/'; c->s++) {
        if (!*c->s)
            die(c->file, c->line, "comment is not closed");
        c->line += *c->s == '\n';
    }
    c->s += 2;
}

static void copy_quoted(struct copy *c)
{
    char quote = *c->s;

    do {
        c->line += *c->s == '\n';
        *c->d++ = *c->s++;
        if (!*c->s)
            die(c->file, c->line, "quote is not closed");
    } while (*c->s != quote);
    *c->d++ = *c->s++;
}

static void copy_param(struct copy *c)
{
    char *end;
    long n = isdigit((unsigned char)c->s[1]) ? strtol(c->s + 1, &end, 10) : 0;

    if (n < 1 || n > MAX_PARAMS)
        die(c->file, c->line, "a parameter is $1 to $%d", MAX_PARAMS);
    c->used[n] = true;
    *c->d++ = '?';
    for (c->s++; c->s < end; c->s++)
        *c->d++ = *c->s;
}

static void copy_one(struct copy *c)
{
    if ((c->s[0] == '-' && c->s[1] == '-') || (c->s[0] == '/' && c->s[1] == '*')) {
        skip_comment(c);
    } else if (isspace((unsigned char)*c->s)) {
        if (c->d > c->start && c->d[-1] != ' ')
            *c->d++ = ' ';
        c->line += *c->s++ == '\n';
    } else if (c->ended) {
        die(c->file, c->line, "one statement per name");
    } else if (*c->s == '\'' || *c->s == '"') {
        copy_quoted(c);
    } else if (*c->s == '$') {
        copy_param(c);
    } else if (*c->s == '?') {
        die(c->file, c->line, "parameters are written $1, $2, …");
    } else if (*c->s == ';') {
        c->ended = true;
        c->s++;
    } else {
        *c->d++ = *c->s++;
    }
}

/* The statement of one query: text up to the next header (which the caller cut off). */
static void read_statement(struct query *q, const char *text, size_t first_line)
{
    struct copy c = {.file = q->file, .line = first_line, .s = text};

    c.start = c.d = q->text = must(malloc(strlen(text) + 2));
    while (*c.s)
        copy_one(&c);
    while (c.d > q->text && c.d[-1] == ' ')
        c.d--;
    *c.d = '\0';
    if (c.d == q->text)
        die(q->file, q->line, "query %s is empty", q->name);
    for (int i = 1; i <= MAX_PARAMS; i++)
        if (c.used[i])
            q->n_params = i;
    for (int i = 1; i <= q->n_params; i++)
        if (!c.used[i])
            die(q->file, q->line, "query %s: $%d is not used", q->name, i);
}

/* "device_by_key :one reader scan", after "-- name:". Cuts the line up. */
static void read_header(struct query *q, char *line)
{
    char *word, *rest = line, *kind = NULL;
    bool reader = false;

    word = strtok_r(rest, " \t\r", &rest);
    if (!word || !is_name(word, strlen(word)))
        die(q->file, q->line, "a query's name is made of a-z, 0-9 and _");
    memcpy(q->name, word, strlen(word) + 1);
    while ((word = strtok_r(NULL, " \t\r", &rest))) {
        if (!kind && (!strcmp(word, ":one") || !strcmp(word, ":many") || !strcmp(word, ":exec")))
            kind = word;
        else if (!strcmp(word, "reader"))
            reader = true;
        else if (!strcmp(word, "writer"))
            q->writer = true;
        else if (!strcmp(word, "scan"))
            q->scan = true;
        else
            die(q->file, q->line, "query %s: what is '%s'?", q->name, word);
    }
    if (!kind)
        die(q->file, q->line, "query %s needs :one, :many or :exec", q->name);
    if (reader == q->writer)
        die(q->file, q->line, "query %s needs one of reader and writer", q->name);
    q->rows = strcmp(kind, ":exec") != 0;
    for (const struct query *o = all.queries; o < q; o++)
        if (!strcmp(o->name, q->name))
            die(q->file, q->line, "query %s stands also at %s:%zu", q->name, o->file, o->line);
}

/* Length of "-- name:" with any blanks when the line is a header, else 0. */
static size_t header_prefix(const char *line)
{
    const char *p = line;

    if (p[0] != '-' || p[1] != '-')
        return 0;
    p += 2 + strspn(p + 2, " \t");
    return strncmp(p, "name:", 5) == 0 ? (size_t)(p - line) + 5 : 0;
}

/* Start of the next header at or after s, or the end of the text; counts the lines passed. */
static char *next_header(char *s, size_t *line)
{
    while (*s && !header_prefix(s)) {
        s += strcspn(s, "\n");
        if (*s) {
            s++;
            ++*line;
        }
    }
    return s;
}

static void add_queries(const char *dir, const char *name)
{
    char *file = format("%s/%s", dir, name);
    char *text = read_file(file), *s;
    size_t line = 1;

    s = next_header(text, &line);
    for (const char *p = text; p < s; p++) {
        p += strspn(p, " \t\r\n");
        if (p < s && strncmp(p, "--", 2) != 0)
            die(file, 1, "text before the first '-- name:'");
        p += strcspn(p, "\n");
    }
    while (*s) {
        if (all.n_queries == MAX_QUERIES)
            die(file, line, "more than %d queries", MAX_QUERIES);
        struct query *q = &all.queries[all.n_queries];
        size_t first_line = line + 1;
        char *head = s + header_prefix(s), *body, *next;

        body = head + strcspn(head, "\n");
        if (*body)
            *body++ = '\0';
        q->file = file;
        q->line = line++;
        read_header(q, head);
        next = next_header(body, &line);
        char *piece = must(strndup(body, (size_t)(next - body)));
        read_statement(q, piece, first_line);
        free(piece);
        all.n_queries++;
        s = next;
    }
    free(text); /* file is kept: the queries point at it */
}

/* ---- writing ---- */
static void put_string(FILE *f, const char *s)
{
    fputs("\n        \"", f);
    for (; *s; s++) {
        if (*s == '\n')
            fputs(s[1] ? "\\n\"\n        \"" : "\\n", f);
        else if (*s == '"' || *s == '\\')
            fprintf(f, "\\%c", *s);
        else if ((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f)
            fprintf(f, "\\%03o", (unsigned char)*s);
        else
            fputc(*s, f);
    }
    fputc('"', f);
}

static void put_header(FILE *f)
{
    fputs("/* Generated by src/tool/embed.c from sql/. Do not edit. */\n#pragma once\n\n"
          "#include <stdbool.h>\n\nenum db_query {\n",
          f);
    for (const struct query *q = all.queries; q < all.queries + all.n_queries; q++) {
        fputs("    Q_", f);
        for (const char *p = q->name; *p; p++)
            fputc(toupper((unsigned char)*p), f);
        fprintf(f, ", /* %s */\n", q->file);
    }
    fputs("    Q__COUNT\n};\n\n"
          "struct db_query_def {\n"
          "    const char *name, *file, *text;\n"
          "    int n_params;\n"
          "    bool writer; /* else reader: every connection may run it */\n"
          "    bool scan;   /* walks a whole table, and is meant to */\n"
          "    bool rows;   /* :one or :many */\n"
          "};\n"
          "extern const struct db_query_def db_query_defs[]; /* Q__COUNT */\n\n"
          "struct db_migration_def {\n    int version;\n    const char *name, *text;\n};\n"
          "extern const struct db_migration_def db_migration_defs[];\n",
          f);
    fprintf(f, "enum { DB_MIGRATIONS = %zu };\n", all.n_migrations);
}

static void put_source(FILE *f, const char *header)
{
    fprintf(f, "/* Generated by src/tool/embed.c from sql/. Do not edit. */\n#include \"%s\"\n\n",
            header);
    fputs("const struct db_query_def db_query_defs[] = {\n", f);
    for (const struct query *q = all.queries; q < all.queries + all.n_queries; q++) {
        fprintf(f, "    {\"%s\", \"%s\",", q->name, q->file);
        put_string(f, q->text);
        fprintf(f, ",\n     %d, %s, %s, %s},\n", q->n_params, q->writer ? "true" : "false",
                q->scan ? "true" : "false", q->rows ? "true" : "false");
    }
    fputs("    {0},\n};\n\nconst struct db_migration_def db_migration_defs[] = {\n", f);
    for (const struct migration *m = all.migrations; m < all.migrations + all.n_migrations; m++) {
        fprintf(f, "    {%d, \"%s\",", m->version, m->name);
        put_string(f, m->text);
        fputs("},\n", f);
    }
    fputs("    {0},\n};\n", f);
}

/* To a name of its own first: several variants may be built at the same time. */
static FILE *out_open(const char *path, char **ret_tmp)
{
    *ret_tmp = format("%s.%ld", path, (long)getpid());
    return must(fopen(*ret_tmp, "wb"));
}

static void out_close(FILE *f)
{
    if (ferror(f) || fclose(f) != 0)
        must(NULL);
}

static void out_publish(const char *tmp, const char *path)
{
    if (rename(tmp, path) != 0)
        must(NULL);
}

static void write_all(const char *prefix)
{
    const char *slash = strrchr(prefix, '/');
    char *h = format("%s.h", prefix), *c = format("%s.c", prefix);
    char *h_tmp, *c_tmp;
    FILE *f;

    f = out_open(c, &c_tmp);
    put_source(f, slash ? h + (slash + 1 - prefix) : h);
    out_close(f);
    f = out_open(h, &h_tmp);
    put_header(f);
    out_close(f);
    out_publish(c_tmp, c); /* the header last: make takes it as made from the source */
    out_publish(h_tmp, h);
}

int main(int argc, char **argv)
{
    static char *names[MAX_FILES];
    size_t n;

    if (argc != 4) {
        fprintf(stderr, "usage: embed OUT_PREFIX MIGRATIONS_DIR QUERIES_DIR\n");
        return 2;
    }
    n = list_sql(argv[2], names);
    for (size_t i = 0; i < n; i++)
        add_migration(argv[2], names[i]);
    n = list_sql(argv[3], names);
    for (size_t i = 0; i < n; i++)
        add_queries(argv[3], names[i]);
    write_all(argv[1]);
    return 0;
}
