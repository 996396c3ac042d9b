/* Redis settings: their memory, and where names lie. */
#include "channellayer/bus/redis_cluster.h"
#include "channellayer/bus/redis_config.h"
#include "tests/unit/layer_fixture.h"

static void test_shards_are_those_of_channels_redis(void **state)
{
    (void)state;
    /* channels_redis.utils._consistent_hash(name, count) */
    static const struct {
        const char *name;
        size_t shards[6];
    } known[] = {
        { "asgi__group__prices", { 0, 0, 0, 0, 1, 2 } },
        { "asgi__group__g1", { 0, 0, 1, 1, 2, 4 } },
        { "asgi__group__market.eur-usd", { 1, 1, 2, 2, 4, 9 } },
        { "asgispecific.0123456789abcdef0123456789abcdef", { 0, 1, 1, 1, 2, 5 } },
        { "x", { 0, 1, 1, 2, 2, 6 } },
        { "", { 0, 0, 0, 0, 0, 0 } },
    };
    static const size_t counts[] = { 2, 3, 4, 5, 7, 16 };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(redis_shard(name_of(known[i].name), 1), 0);
        for (size_t j = 0; j < sizeof counts / sizeof *counts; j++)
            assert_int_equal(redis_shard(name_of(known[i].name), counts[j]), known[i].shards[j]);
    }
}

static void test_slots_are_those_of_redis_cluster(void **state)
{
    (void)state;
    assert_int_equal(redis_cluster_slot(name_of("123456789")), 12739); /* the specification's example: 0x31C3 */
    assert_int_equal(redis_cluster_slot(name_of("{user1000}.following")), redis_cluster_slot(name_of("user1000")));
    assert_int_equal(redis_cluster_slot(name_of("foo{{bar}}zap")), redis_cluster_slot(name_of("{bar")));
    assert_int_equal(redis_cluster_slot(name_of("foo{bar}{zap}")), redis_cluster_slot(name_of("bar")));
    assert_int_not_equal(redis_cluster_slot(name_of("foo{}{bar}")), redis_cluster_slot(name_of("bar"))); /* all of it counts */
    assert_int_equal(redis_cluster_slot(name_of("")), 0);
}

static void test_everything_goes_with_the_last_reference(void **state)
{
    (void)state;
    struct redis_settings *settings = redis_settings_create();
    char *text = redis_settings_text(settings, "secret\0more", 6);
    assert_string_equal(text, "secret");
    unsigned char *zeros = redis_settings_alloc(settings, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zeros[i], 0);
    assert_non_null(redis_settings_alloc(settings, 0));
    redis_settings_release(redis_settings_retain(settings));
    assert_string_equal(text, "secret");
    redis_settings_release(settings);
    redis_settings_release(NULL);
}

static void test_without_memory(void **state)
{
    (void)state;
    mem_fail_at(1);
    assert_null(redis_settings_create());
    struct redis_settings *settings = redis_settings_create();
    mem_fail_at(1);
    assert_null(redis_settings_text(settings, "text", 4));
    mem_fail_at(0);
    assert_null(redis_settings_alloc(settings, SIZE_MAX - 8));
    redis_settings_release(settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_are_those_of_channels_redis),
        cmocka_unit_test(test_slots_are_those_of_redis_cluster),
        cmocka_unit_test(test_everything_goes_with_the_last_reference),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
