#include "server/load.h"

#include <assert.h>

#include "base/alloc.h"

struct load *load_create(struct load *whole)
{
    struct load *load = mem_zalloc(sizeof *load);
    load->references = 1;
    load->whole = whole != NULL ? load_retain(whole) : NULL;
    return load;
}

struct load *load_retain(struct load *load)
{
    atomic_fetch_add_explicit(&load->references, 1, memory_order_relaxed);
    return load;
}

void load_release(struct load *load)
{
    while (load != NULL && atomic_fetch_sub_explicit(&load->references, 1, memory_order_acq_rel) == 1) {
        struct load *whole = load->whole;
        assert(load_heads(load) == 0 && load->applications == 0);
        mem_free(load);
        load = whole;
    }
}

void load_begin_application(struct load *load)
{
    load_retain(load)->applications++;
}

void load_end_application(struct load *load)
{
    assert(load->applications > 0);
    load->applications--;
    load_release(load);
}

void load_add_head(struct load *load, size_t weight)
{
    load_retain(load);
    for (struct load *each = load; each != NULL; each = each->whole)
        atomic_fetch_add_explicit(&each->heads, weight, memory_order_relaxed);
}

void load_take_head(struct load *load, size_t weight)
{
    for (struct load *each = load; each != NULL; each = each->whole)
        atomic_fetch_sub_explicit(&each->heads, weight, memory_order_relaxed);
    load_release(load);
}
