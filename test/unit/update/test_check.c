/* Checks: what is offered, that a repeat writes nothing, and when an offer is withdrawn. */
#include "tests.h"

static int64_t ready_device(struct domain *d, const char *key)
{
    int64_t id = domain_device(d, key);

    report(d, id, "1.0", T0);
    return id;
}

static void a_new_offer(void **state UNUSED)
{
    struct domain d;
    struct decision dn;

    domain_init(&d);
    int64_t dev = ready_device(&d, "dev"), fw = domain_firmware(&d, "2.0");
    struct update u = check(&d, dev, T0, &dn);
    assert_int_equal(u.state, UPDATE_OFFERED);
    assert_int_equal(u.firmware_id, fw);
    assert_string_equal(u.from_version, "1.0");
    assert_string_equal(u.to_version, "2.0");
    assert_int_equal(u.bytes_total, 1000);
    assert_int_equal(u.link_until, T0 + LIFETIME);
    assert_true(u.id >= 100000 && u.id <= INT32_MAX);
    assert_int_equal(dn.reason, REASON_ELIGIBLE);
    struct update stored = the_update(&d, u.id);
    assert_int_equal(stored.state, UPDATE_OFFERED);
    assert_int_equal(stored.deadline_at, T0 + DAY);
    assert_int_equal(stored.attempt, 1);
    domain_done(&d);
}

static void a_repeat_writes_nothing(void **state UNUSED)
{
    struct domain d;
    struct decision dn;
    struct update again;
    bool repeated = false;

    domain_init(&d);
    int64_t dev = ready_device(&d, "dev");
    domain_firmware(&d, "2.0");
    MUST(db_commit(d.w));

    /* The first offer needs the writer, the repeat does not. */
    struct db *r = db_fixture_reader(&d.fx);
    struct device device = the_device(&d, dev);
    assert_int_equal(
        update_check(r, d.catalog, &device, "main", T0, LIFETIME, &d.a, &again, &repeated, &dn),
        E_NEEDS_WRITE);
    MUST(db_begin(d.w));
    struct update u = check(&d, dev, T0, NULL);
    MUST(db_commit(d.w));
    for (int i = 0; i < 2; i++) {
        MUST(update_check(r, d.catalog, &device, "main", T0 + HOUR, LIFETIME, &d.a, &again,
                          &repeated, &dn));
        assert_int_equal(again.id, u.id);
        assert_true(repeated);
        assert_int_equal(dn.firmware->id, u.firmware_id);
    }
    /* Nor does a report of what is known, or one that nothing follows from. */
    MUST(update_reported(r, d.catalog, &device, "main", "1.0", T0 + HOUR, &d.a));
    assert_int_equal(update_reported(r, d.catalog, &device, "main", "2.0", T0, &d.a),
                     E_NEEDS_WRITE);
    db_close(r);
    domain_done(&d);
}

static void a_repeat_in_every_stage(void **state UNUSED)
{
    for (int s = UPDATE_DEFERRED; s <= UPDATE_INSTALLED; s++) {
        struct domain d;

        domain_init(&d);
        int64_t dev = ready_device(&d, "dev");
        domain_firmware(&d, "2.0");
        struct update u = check(&d, dev, T0, NULL);
        MUST(moved(&d, u.id, (enum update_state)s, T0 + 1));
        struct update again = check(&d, dev, T0 + 2, NULL);
        assert_int_equal(again.id, u.id);
        assert_int_equal(again.state, s);
        domain_done(&d);
    }
}

static void an_old_link_is_extended(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    d.type.accept_timeout_s = 30 * 24 * 3600;
    domain_type_changed(&d);
    int64_t dev = ready_device(&d, "dev");
    domain_firmware(&d, "2.0");
    struct update u = check(&d, dev, T0, NULL);
    assert_int_equal(check(&d, dev, T0 + 36 * HOUR, NULL).link_until, u.link_until);
    assert_int_equal(check(&d, dev, T0 + 36 * HOUR + 1, NULL).link_until,
                     T0 + 36 * HOUR + 1 + LIFETIME);
    assert_int_equal(the_update(&d, u.id).link_until, T0 + 36 * HOUR + 1 + LIFETIME);
    domain_done(&d);
}

static void nothing_newer_nothing_written(void **state UNUSED)
{
    struct domain d;
    struct decision dn;

    domain_init(&d);
    int64_t dev = ready_device(&d, "dev");
    domain_firmware(&d, "1.0");
    int64_t before = db_total_changes(d.w);
    assert_int_equal(check(&d, dev, T0, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_NOT_NEWER);
    assert_int_equal(db_total_changes(d.w), before);
    domain_done(&d);
}

static void a_withdrawn_firmware_cancels(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t dev = ready_device(&d, "dev");
    int64_t low = domain_firmware(&d, "2.0"), high = domain_firmware(&d, "3.0");
    struct update u = check(&d, dev, T0, NULL);
    assert_int_equal(u.firmware_id, high);
    struct firmware fw;
    MUST(firmware_by_id(d.w, d.project, high, &d.a, &fw));
    fw.enabled = false;
    MUST(firmware_update(d.w, &fw, NULL));
    domain_reload(&d);
    struct update next = check(&d, dev, T0 + 1, NULL);
    assert_int_equal(next.firmware_id, low);
    assert_int_not_equal(next.id, u.id);
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_CANCELED);
    assert_string_equal(u.cause, "firmware_disabled");
    /* Not an operator's word against this device: enabled again, it is offered again. */
    fw.enabled = true;
    MUST(firmware_update(d.w, &fw, NULL));
    domain_reload(&d);
    MUST(update_cancel(d.w, next.id, "superseded", "", T0 + 2, NULL));
    assert_int_equal(check(&d, dev, T0 + 3, NULL).firmware_id, high);
    domain_done(&d);
}

static void a_low_battery_withholds(void **state UNUSED)
{
    struct domain d;
    struct decision dn;

    domain_init(&d);
    int64_t dev = ready_device(&d, "dev");
    struct firmware fw = domain_firmware_of(&d, "2.0", 10);
    fw.has_min_battery = true;
    fw.min_battery = 50;
    MUST(firmware_insert(d.w, &fw, NULL));
    domain_reload(&d);
    assert_int_equal(check(&d, dev, T0, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_BATTERY_LOW);
    AUTO(json_free) json_t *full = json_pack("{s:i}", "battery", 90);
    AUTO(json_free) json_t *empty = json_pack("{s:i}", "battery", 10);
    MUST(device_attributes_merge(d.w, dev, full));
    struct update u = check(&d, dev, T0, &dn);
    assert_int_not_equal(u.id, 0);
    MUST(device_attributes_merge(d.w, dev, empty));
    assert_int_equal(check(&d, dev, T0 + 1, &dn).id, 0);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_OFFERED); /* withheld, not ended */
    MUST(device_attributes_merge(d.w, dev, full));
    assert_int_equal(check(&d, dev, T0 + 2, &dn).id, u.id);
    domain_done(&d);
}

/* An offer that is sent once more, after a crash: while its link is good, and it still holds. */
static void what_may_be_sent_once_more(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t dev = ready_device(&d, "dev");
    domain_firmware(&d, "2.0");
    struct update u = check(&d, dev, T0, NULL);
    struct device device = the_device(&d, dev);
    assert_int_equal(update_still(d.w, d.catalog, &device, &u, T0 + LIFETIME - 1, &d.a), 1);
    assert_int_equal(update_still(d.w, d.catalog, &device, &u, T0 + LIFETIME, &d.a), E_GONE);
    device.enabled = false;
    assert_int_equal(update_still(d.w, d.catalog, &device, &u, T0 + 1, &d.a), 0);
    device.enabled = true;
    MUST(moved(&d, u.id, UPDATE_ACCEPTED, T0 + 1));
    u = the_update(&d, u.id);
    assert_int_equal(update_still(d.w, d.catalog, &device, &u, T0 + 1, &d.a), E_GONE);
    domain_done(&d);
}

/* So do the others of what a firmware asks of the moment. */
static void low_signal_or_space_withholds(void **state UNUSED)
{
    static const char *const names[] = {"signal", "free_space"};

    for (int i = 0; i < 2; i++) {
        struct domain d;
        struct decision dn;

        domain_init(&d);
        int64_t dev = ready_device(&d, "dev");
        struct firmware fw = domain_firmware_of(&d, "2.0", 10);
        fw.has_min_signal = i == 0;
        fw.has_min_free_space = i == 1;
        fw.min_signal = fw.min_free_space = 50;
        MUST(firmware_insert(d.w, &fw, NULL));
        domain_reload(&d);
        AUTO(json_free) json_t *high = json_pack("{s:i}", names[i], 90);
        AUTO(json_free) json_t *low = json_pack("{s:i}", names[i], 10);
        MUST(device_attributes_merge(d.w, dev, high));
        struct update u = check(&d, dev, T0, NULL);
        assert_int_not_equal(u.id, 0);
        MUST(device_attributes_merge(d.w, dev, low));
        assert_int_equal(check(&d, dev, T0 + 1, &dn).id, 0);
        assert_int_equal(dn.reason, i == 0 ? REASON_SIGNAL_LOW : REASON_NO_SPACE);
        assert_int_equal(the_update(&d, u.id).state, UPDATE_OFFERED);
        domain_done(&d);
    }
}

/* Disabled, or resting after too many failures: it gets nothing, and keeps what it was offered. */
static void what_passes_by_ends_nothing(void **state UNUSED)
{
    struct domain d;
    struct decision dn;

    domain_init(&d);
    int64_t dev = ready_device(&d, "dev");
    domain_firmware(&d, "2.0");
    struct update u = check(&d, dev, T0, NULL);
    struct device device = the_device(&d, dev);
    device.enabled = false;
    MUST(device_update(d.w, &device, NULL));
    assert_int_equal(check(&d, dev, T0 + 1, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_DEVICE_DISABLED);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_OFFERED);
    device.enabled = true;
    MUST(device_update(d.w, &device, NULL));
    assert_int_equal(check(&d, dev, T0 + 2, NULL).id, u.id);
    bool quarantined;
    MUST(device_failed(d.w, dev, 1, T0 + 2, &quarantined));
    assert_true(quarantined);
    assert_int_equal(check(&d, dev, T0 + 3, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_QUARANTINED);
    assert_int_equal(dn.retry_at, T0 + 2 + DAY);
    assert_int_equal(the_update(&d, u.id).state, UPDATE_OFFERED);
    MUST(device_release(d.w, dev, T0 + 4));
    assert_int_equal(check(&d, dev, T0 + 5, NULL).id, u.id);
    domain_done(&d);
}

static void stand_behind(struct domain *d, int64_t device, int64_t gateway)
{
    struct device dev = the_device(d, device);

    dev.gateway_id = gateway;
    MUST(device_update(d->w, &dev, NULL));
}

static void waits(struct domain *d, int64_t device, int64_t now)
{
    struct decision dn;

    assert_int_equal(check(d, device, now, &dn).id, 0);
    assert_int_equal(dn.reason, REASON_UPDATE_IN_PROGRESS);
}

static void a_busy_gateway_holds_its_children(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t gw = ready_device(&d, "gw"), child = ready_device(&d, "child");
    stand_behind(&d, child, gw);
    domain_firmware(&d, "2.0");
    struct update ug = check(&d, gw, T0, NULL);
    waits(&d, child, T0); /* it could begin at any moment */
    MUST(moved(&d, ug.id, UPDATE_INSTALLING, T0));
    waits(&d, child, T0 + 1);
    report(&d, gw, "2.0", T0 + 2);
    assert_int_not_equal(check(&d, child, T0 + 3, NULL).id, 0);
    domain_done(&d);
}

/* What passes on an update must not reboot meanwhile. */
static void a_busy_child_holds_its_gateway(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t gw = ready_device(&d, "gw"), mid = ready_device(&d, "mid"), c = ready_device(&d, "c");
    stand_behind(&d, mid, gw);
    stand_behind(&d, c, mid);
    domain_firmware(&d, "2.0");
    struct update uc = check(&d, c, T0, NULL);
    waits(&d, gw, T0);
    waits(&d, mid, T0);
    MUST(moved(&d, uc.id, UPDATE_DOWNLOADING, T0 + 1));
    waits(&d, gw, T0 + HOUR);
    report(&d, c, "2.0", T0 + HOUR);
    struct update ug = check(&d, gw, T0 + HOUR, NULL);
    assert_int_not_equal(ug.id, 0);
    /* Its offer lapsed: a child's turn takes it back, and its own comes again. */
    struct update um = check(&d, mid, T0 + HOUR + 10 * MIN, NULL);
    assert_int_not_equal(um.id, 0);
    assert_int_equal(the_update(&d, ug.id).state, UPDATE_PLANNED);
    waits(&d, gw, T0 + HOUR + 10 * MIN);
    assert_int_equal(check(&d, gw, T0 + HOUR + 20 * MIN, NULL).id, ug.id);
    assert_int_equal(the_update(&d, um.id).state, UPDATE_PLANNED);
    domain_done(&d);
}

/* gw -> a, gw -> b -> c; another device stands alone. */
static void one_at_a_time_behind_a_gateway(void **state UNUSED)
{
    static const char *const keys[] = {"gw", "a", "b", "c", "alone"};
    static const int behind[] = {-1, 0, 0, 2, -1};
    int64_t ids[5];
    struct domain d;

    domain_init(&d);
    for (int i = 0; i < 5; i++) {
        ids[i] = ready_device(&d, keys[i]);
        if (behind[i] >= 0)
            stand_behind(&d, ids[i], ids[behind[i]]);
    }
    domain_firmware(&d, "2.0");
    struct update ua = check(&d, ids[1], T0, NULL);
    for (int s = UPDATE_ACCEPTED; s <= UPDATE_INSTALLED; s++) {
        MUST(moved(&d, ua.id, (enum update_state)s, T0 + s));
        waits(&d, ids[2], T0 + s);
        waits(&d, ids[3], T0 + s);                                   /* at any depth */
        assert_int_equal(check(&d, ids[1], T0 + s, NULL).id, ua.id); /* its own goes on */
    }
    assert_int_not_equal(check(&d, ids[4], T0 + 20, NULL).id, 0);
    d.type.parallel_updates = 2;
    domain_type_changed(&d);
    struct update ub = check(&d, ids[2], T0 + 21, NULL);
    assert_int_not_equal(ub.id, 0);
    waits(&d, ids[3], T0 + 22);
    MUST(moved(&d, ub.id, UPDATE_ACCEPTED, T0 + 23));
    waits(&d, ids[3], T0 + 24);
    report(&d, ids[1], "2.0", T0 + 25);
    waits(&d, ids[3], T0 + 26); /* b passes on what is for c */
    report(&d, ids[2], "2.0", T0 + 27);
    assert_int_not_equal(check(&d, ids[3], T0 + 28, NULL).id, 0);
    waits(&d, ids[0], T0 + 29);
    report(&d, ids[3], "2.0", T0 + 30);
    assert_int_not_equal(check(&d, ids[0], T0 + 31, NULL).id, 0);
    domain_done(&d);
}

/* However both ask and accept, at once or late: never do two behind one gateway begin. */
static void two_offers_never_begin_together(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t gw = ready_device(&d, "gw"), a = ready_device(&d, "a"), b = ready_device(&d, "b");
    stand_behind(&d, a, gw);
    stand_behind(&d, b, gw);
    domain_firmware(&d, "2.0");
    struct update ua = check(&d, a, T0, NULL);
    waits(&d, b, T0);
    waits(&d, b, T0 + 10 * MIN - 1);
    assert_int_equal(check(&d, a, T0 + 10 * MIN, NULL).id, ua.id); /* nobody else wanted it */
    struct update ub = check(&d, b, T0 + 10 * MIN, NULL);
    assert_int_not_equal(ub.id, 0);
    /* Its place is gone: what it says or fetches late does nothing, and asked again, it waits. */
    assert_int_equal(the_update(&d, ua.id).state, UPDATE_PLANNED);
    assert_int_equal(moved(&d, ua.id, UPDATE_ACCEPTED, T0 + 11 * MIN), E_CONFLICT);
    assert_int_equal(moved(&d, ua.id, UPDATE_DOWNLOADING, T0 + 11 * MIN), E_CONFLICT);
    served(&d, ua.id, 0, 1000, T0 + 11 * MIN);
    assert_int_equal(the_update(&d, ua.id).state, UPDATE_PLANNED);
    waits(&d, a, T0 + 11 * MIN);
    MUST(moved(&d, ub.id, UPDATE_DOWNLOADING, T0 + 12 * MIN));
    waits(&d, a, T0 + HOUR); /* in progress, it keeps its place */
    report(&d, b, "2.0", T0 + HOUR);
    assert_int_equal(check(&d, a, T0 + HOUR, NULL).id, ua.id);
    assert_int_equal(the_update(&d, ua.id).attempt, 1); /* no attempt was lost */
    MUST(moved(&d, ua.id, UPDATE_ACCEPTED, T0 + HOUR));
    domain_done(&d);
}

static void ids_end_at_int32(void **state UNUSED)
{
    struct domain d;
    struct decision dn;
    struct update u;
    bool repeated;

    domain_init_at(&d, INT32_MAX - 1);
    int64_t first = ready_device(&d, "a"), second = ready_device(&d, "b");
    domain_firmware(&d, "2.0");
    assert_int_equal(check(&d, first, T0, NULL).id, INT32_MAX);
    struct device dev = the_device(&d, second);
    assert_int_equal(
        update_check(d.w, d.catalog, &dev, "main", T0, LIFETIME, &d.a, &u, &repeated, &dn),
        E_LIMIT);
    assert_int_equal(u.id, 0);
    domain_done(&d);
}

static int64_t delta(struct domain *d)
{
    static const char *sources[] = {"1.0"};
    struct firmware fw = domain_firmware_of(d, "2.0", 10);

    fw.source_versions = sources;
    fw.n_sources = 1;
    MUST(firmware_insert(d->w, &fw, NULL));
    domain_reload(d);
    return fw.id;
}

static int last_word(void *arg, const struct update_event *e)
{
    (void)snprintf(arg, 64, "%s>%s %s", e->from_state, e->to_state, e->cause);
    return 0;
}

static void a_failed_delta_gives_way_to_the_full_image(void **state UNUSED)
{
    struct domain d;
    struct decision dn;
    char word[64];

    domain_init(&d);
    int64_t dev = ready_device(&d, "dev"), full = domain_firmware(&d, "2.0"), part = delta(&d);
    struct update u = check(&d, dev, T0, NULL);
    assert_int_equal(u.firmware_id, part);
    MUST(moved(&d, u.id, UPDATE_FAILED, T0 + 1));
    assert_int_equal(moved(&d, u.id, UPDATE_FAILED, T0 + 1), E_CONFLICT); /* said twice */
    assert_int_equal(the_update(&d, u.id).state, UPDATE_PLANNED);
    int64_t failed = metric_get(M_UPDATES_FAILED);
    struct update other = check(&d, dev, T0 + 2, &dn);
    assert_int_equal(other.firmware_id, full);
    assert_int_not_equal(other.id, u.id);
    assert_int_equal(dn.reason, REASON_ELIGIBLE);
    assert_int_equal(the_device(&d, dev).failures, 1); /* one attempt, counted once */
    assert_int_equal(metric_get(M_UPDATES_FAILED), failed + 1);
    u = the_update(&d, u.id);
    assert_int_equal(u.state, UPDATE_FAILED);
    assert_int_equal(u.attempt, 1);
    MUST(update_history(d.w, u.id, last_word, word));
    assert_string_equal(word, "planned>failed delta");
    assert_int_equal(check(&d, dev, T0 + HOUR, NULL).id, other.id);
    MUST(moved(&d, other.id, UPDATE_FAILED, T0 + HOUR)); /* of this one, the same again */
    assert_int_equal(check(&d, dev, T0 + 2 * HOUR, NULL).id, other.id);
    domain_done(&d);
}

static void a_failed_delta_goes_on_where_there_is_no_other(void **state UNUSED)
{
    struct domain d;

    domain_init(&d);
    int64_t dev = ready_device(&d, "dev");
    struct firmware fw = domain_firmware_of(&d, "2.0", 1000);
    fw.has_min_battery = true; /* which this device does not report */
    fw.min_battery = 50;
    MUST(firmware_insert(d.w, &fw, NULL));
    domain_firmware(&d, "1.5");
    int64_t part = delta(&d);
    struct update u = check(&d, dev, T0, NULL);
    assert_int_equal(u.firmware_id, part);
    MUST(moved(&d, u.id, UPDATE_FAILED, T0 + 1));
    struct update again = check(&d, dev, T0 + HOUR, NULL);
    assert_int_equal(again.id, u.id);
    assert_int_equal(again.attempt, 2);
    domain_done(&d);
}

int test_check(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_offer),
        cmocka_unit_test(a_repeat_writes_nothing),
        cmocka_unit_test(a_repeat_in_every_stage),
        cmocka_unit_test(an_old_link_is_extended),
        cmocka_unit_test(nothing_newer_nothing_written),
        cmocka_unit_test(a_withdrawn_firmware_cancels),
        cmocka_unit_test(a_low_battery_withholds),
        cmocka_unit_test(low_signal_or_space_withholds),
        cmocka_unit_test(what_may_be_sent_once_more),
        cmocka_unit_test(what_passes_by_ends_nothing),
        cmocka_unit_test(a_busy_gateway_holds_its_children),
        cmocka_unit_test(a_busy_child_holds_its_gateway),
        cmocka_unit_test(one_at_a_time_behind_a_gateway),
        cmocka_unit_test(two_offers_never_begin_together),
        cmocka_unit_test(ids_end_at_int32),
        cmocka_unit_test(a_failed_delta_gives_way_to_the_full_image),
        cmocka_unit_test(a_failed_delta_goes_on_where_there_is_no_other),
    };

    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
