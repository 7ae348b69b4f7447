/*
 * Which of the candidates: the file set within a version, and the version from which the way goes
 * on. The highest wins, unless a delta further up is made for a lower one and nothing leads there
 * from the highest: then that one is the next hop. Pure; it compares the snapshot's numbers.
 */
#include "update_priv.h"

/* ---- of one version ---- */
static bool failed_here(const struct decide_context *x, const struct firmware *fw)
{
    const struct past_attempt *past = decide_past(x->facts, fw->id);

    for (size_t i = 0; i < x->facts->n_active; i++) {
        const struct active_update *u = &x->facts->active[i];

        if (decide_is_own(x->facts, u) && u->firmware_id == fw->id && u->attempt > 1)
            return true;
    }
    return past && past->attempts > 0;
}

/* Of any version: this device has trouble with deltas, for a day. */
static bool any_delta_failed(const struct decide_context *x)
{
    for (size_t i = 0; i < x->facts->n_active; i++) {
        const struct active_update *u = &x->facts->active[i];
        const struct firmware *fw = catalog_firmware(x->catalog, u->firmware_id);

        if (decide_is_own(x->facts, u) && u->attempt > 1 && fw && fw->n_sources > 0)
            return true;
    }
    for (size_t i = 0; i < x->facts->n_past; i++) {
        const struct past_attempt *past = &x->facts->past[i];
        const struct firmware *fw = catalog_firmware(x->catalog, past->firmware_id);

        if (fw && past->attempts > 0 && fw->n_sources > 0 &&
            strcmp(fw->module, x->facts->module) == 0)
            return true;
    }
    return false;
}

/* A delta before a full image, until one failed here; then the full image, then a delta that did
 * not fail. A candidate with source versions is a delta from the current one (rule 5). */
static int standing(const struct decide_context *x, const struct firmware *fw)
{
    if (!any_delta_failed(x))
        return fw->n_sources > 0 ? 2 : 1;
    return fw->n_sources == 0 ? 2 : failed_here(x, fw) ? 0 : 1;
}

bool hop_is_better(const struct decide_context *x, const struct firmware *fw,
                   const struct firmware *best)
{
    return fw->rank == best->rank && standing(x, fw) > standing(x, best);
}

/* ---- the way on ---- */
static bool is_from(const struct firmware *fw, size_t rank)
{
    for (size_t i = 0; i < fw->n_from; i++)
        if (fw->from[i] == rank)
            return true;
    return fw->n_sources == 0;
}

/* One step, once the device runs `from`. */
static bool leads(const struct firmware *from, const struct firmware *floor,
                  const struct firmware *to)
{
    return to->rank > from->rank && (!floor || to->rank <= floor->rank) && is_from(to, from->rank);
}

size_t hop_choose(const struct decide_context *x, const struct firmware *const *list, size_t n,
                  const unsigned char *can, struct arena *a)
{
    size_t *reach = arena_alloc(a, n * sizeof(*reach)), best = n;

    for (size_t i = 0; i < n; i++) { /* the highest first: what is above is known */
        const struct firmware *floor = floor_over(x, list[i]->rank);

        reach[i] = list[i]->rank;
        for (size_t k = 0; k < i; k++)
            if (can[k] && reach[k] > reach[i] && leads(list[i], floor, list[k]))
                reach[i] = reach[k];
        if (!(can[i] & HOP_NOW))
            continue;
        if (best == n || reach[i] > reach[best] ||
            (reach[i] == reach[best] && hop_is_better(x, list[i], list[best])))
            best = i;
    }
    return best;
}

void hop_mark(const struct decide_context *x, const struct firmware *const *list, size_t n,
              const unsigned char *can, size_t offered, bool *ret)
{
    memset(ret, 0, n * sizeof(*ret));
    for (size_t i = offered + 1; i > 0; i--) {
        const struct firmware *from = list[i - 1], *floor = floor_over(x, from->rank);

        if (i - 1 != offered && !ret[i - 1])
            continue;
        for (size_t k = 0; k < i - 1; k++)
            ret[k] = ret[k] || (can[k] && leads(from, floor, list[k]));
    }
}
