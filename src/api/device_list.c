/* GET /api/v1/devices: pages of what a filter finds, or all of it as an export. */
#include "priv.h"

struct page {
    struct list l;
    struct api *api;
    struct db *db;
    struct catalog *catalog;
};

static int list_one(void *arg, const struct device *d)
{
    struct page *p = arg;
    if (!list_row(&p->l, d->id))
        return 1;
    return device_write_json(&p->l.b, p->db, p->catalog, d, p->api);
}

/* The filter's words become ids: 1 = fine, 0 = nothing can match, < 0 = answered. */
static int read_filter(struct http_request *r, struct device_filter *flt)
{
    const struct call *c = call_of(r);
    const char *gateway = http_query(r, "gateway"), *module = http_query(r, "module");
    struct device g;

    *flt = (struct device_filter){.project_id = c->who.project_id,
                                  .tag = http_query(r, "tag"),
                                  .sn = http_query(r, "sn"),
                                  .version = http_query(r, "version")};
    if (flt->version || module)
        flt->version_module = module ? module : "main";
    if (input_query_bool(r, "enabled", &flt->enabled) < 0)
        return E_PROTO;
    int some = input_query_type(r, &flt->type_id);
    if (some > 0 && gateway) {
        int rc = device_by_key(c->db, flt->project_id, gateway, http_arena(r), &g);
        if (rc < 0)
            return rc == E_NOTFOUND ? 0 : (http_fail(r, rc, NULL), rc);
        flt->gateway_id = g.id;
    }
    return some;
}

struct exporting {
    struct export *x;
    struct catalog *catalog;
};

static int export_one(void *arg, const struct device *d)
{
    struct exporting *e = arg;
    int rc = device_write_json(&e->x->row, e->x->db, e->catalog, d, e->x->api);
    return rc < 0 ? rc : export_row(e->x, d->id);
}

static int export_page(struct export *x, int limit)
{
    struct exporting e = {x, catalog_cell_get(x->api->env.catalog)};
    int rc = device_list(x->db, x->filter, x->at, limit, export_one, &e);
    catalog_unref(e.catalog);
    return rc;
}

static void export_all(struct http_request *r, enum export_format format,
                       const struct device_filter *flt, bool some)
{
    struct export *x = export_new(r, format, &device_table, export_page);
    struct device_filter *own = arena_alloc(&x->a, sizeof(*own));
    *own = *flt;
    own->tag = arena_strdup(&x->a, flt->tag);
    own->sn = arena_strdup(&x->a, flt->sn);
    own->version_module = arena_strdup(&x->a, flt->version_module);
    own->version = arena_strdup(&x->a, flt->version);
    x->filter = own;
    x->none = !some;
    export_go(x, r, "devices");
}

void device_list_handle(struct http_request *r, void *arg)
{
    const struct call *c = call_of(r);
    struct page p = {.api = c->api, .db = c->db};
    enum export_format format;
    struct device_filter flt;
    int64_t total = -1;
    (void)arg;
    int some = read_filter(r, &flt);
    if (some < 0 || export_wanted(r, &format) < 0)
        return;
    if (format != EXPORT_NONE) {
        export_all(r, format, &flt, some);
        return;
    }
    if (list_begin(r, &p.l) < 0)
        return;
    p.catalog = catalog_cell_get(c->api->env.catalog);
    int rc = some ? device_list(c->db, &flt, p.l.after, p.l.limit + 1, list_one, &p) : 0;
    catalog_unref(p.catalog);
    if (list_wants_total(&p.l))
        total = some ? device_count(c->db, &flt) : 0;
    list_end(&p.l, rc, total);
}
