/*
 * The states of an update: their names, and the table of moves between them. The table is the
 * law: whatever asks for another move is refused.
 */
#include "update_priv.h"

static const char *const names[UPDATE__COUNT] = {
    [UPDATE_PLANNED] = "planned",         [UPDATE_OFFERED] = "offered",
    [UPDATE_DEFERRED] = "deferred",       [UPDATE_ACCEPTED] = "accepted",
    [UPDATE_DOWNLOADING] = "downloading", [UPDATE_DOWNLOADED] = "downloaded",
    [UPDATE_INSTALLING] = "installing",   [UPDATE_REBOOTING] = "rebooting",
    [UPDATE_INSTALLED] = "installed",     [UPDATE_VERIFIED] = "verified",
    [UPDATE_REJECTED] = "rejected",       [UPDATE_FAILED] = "failed",
    [UPDATE_ROLLED_BACK] = "rolled_back", [UPDATE_TIMED_OUT] = "timed_out",
    [UPDATE_CANCELED] = "canceled",       [UPDATE_UNVERIFIED] = "unverified",
};

const char *update_state_name(enum update_state s)
{
    return names[s];
}

int update_state_parse(const char *name, enum update_state *ret)
{
    for (size_t i = 0; i < UPDATE__COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret = (enum update_state)i;
            return 0;
        }
    }
    return E_NOTFOUND;
}

/*
 * One letter per target, in the order of the enum. 'x' = may move there.
 *   P planned (an attempt failed)  O offered  F deferred  A accepted  D downloading  d downloaded
 *   I installing  R rebooting  i installed
 *   V verified  J rejected  X failed  B rolled_back  T timed_out  C canceled  U unverified
 * A device may leave steps out, so every step leads to all later ones. No step leads back, but
 * for three: a failed attempt waits for its next one as planned, a file that is fetched again
 * from its start turns downloaded into downloading, and what was taken the user may put off, also
 * once more. Verified and canceled may come at any time.
 * What waits as planned ends as failed when something else is offered instead of it.
 */
/* clang-format off */
static const char moves[UPDATE__COUNT][UPDATE__COUNT + 1] = {
    /*                        POFADdIRiVJXBTCU */
    [UPDATE_PLANNED]      =  ".x.......x.x.xx.",
    [UPDATE_OFFERED]      =  "x.xxxxxxxxxx.xx.",
    [UPDATE_DEFERRED]     =  "x.xxxxxxxxxx.xx.",
    [UPDATE_ACCEPTED]     =  "x.x.xxxxxxxx.xx.",
    [UPDATE_DOWNLOADING]  =  "x....xxxxxxx.xx.",
    [UPDATE_DOWNLOADED]   =  "x...x.xxxxxx..xx",
    [UPDATE_INSTALLING]   =  "x......xxx.xx.xx",
    [UPDATE_REBOOTING]    =  "x.......xx.xx.xx",
    [UPDATE_INSTALLED]    =  "x........x.xx.xx",
    [UPDATE_VERIFIED]     =  "................",
    [UPDATE_REJECTED]     =  "................",
    [UPDATE_FAILED]       =  "................",
    [UPDATE_ROLLED_BACK]  =  "................",
    [UPDATE_TIMED_OUT]    =  "................",
    [UPDATE_CANCELED]     =  "................",
    [UPDATE_UNVERIFIED]   =  "................",
};
/* clang-format on */

bool update_may_move(enum update_state from, enum update_state to)
{
    return from < UPDATE__COUNT && to < UPDATE__COUNT && moves[from][to] == 'x';
}

bool update_is_in_progress(enum update_state s)
{
    return s >= UPDATE_ACCEPTED && s <= UPDATE_INSTALLED;
}
