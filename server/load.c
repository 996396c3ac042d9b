#include "server/load.h"

#include <assert.h>

#include "base/alloc.h"

struct load *load_create(void)
{
    struct load *load = mem_zalloc(sizeof *load);
    load->references = 1;
    return load;
}

struct load *load_retain(struct load *load)
{
    load->references++;
    return load;
}

void load_release(struct load *load)
{
    if (--load->references == 0)
        mem_free(load);
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
