#include "channellayer/bus/redis_config.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"

/* Everything that the settings point to: blocks that are freed together. */
struct block {
    struct block *next;
    max_align_t bytes[];
};

struct counted {
    struct redis_settings settings; /* first */
    atomic_uint references;
    struct block *blocks;
};

struct redis_settings *redis_settings_create(void)
{
    struct counted *counted = mem_try_alloc(sizeof *counted);
    if (counted == NULL)
        return NULL;
    memset(counted, 0, sizeof *counted);
    atomic_init(&counted->references, 1);
    return &counted->settings;
}

struct redis_settings *redis_settings_retain(struct redis_settings *settings)
{
    atomic_fetch_add(&((struct counted *)settings)->references, 1);
    return settings;
}

void redis_settings_release(struct redis_settings *settings)
{
    struct counted *counted = (struct counted *)settings;
    if (counted == NULL || atomic_fetch_sub(&counted->references, 1) > 1)
        return;
    while (counted->blocks != NULL) {
        struct block *block = counted->blocks;
        counted->blocks = block->next;
        mem_free(block);
    }
    mem_free(counted);
}

void *redis_settings_alloc(struct redis_settings *settings, size_t size)
{
    struct counted *counted = (struct counted *)settings;
    if (size > SIZE_MAX / 2)
        return NULL;
    struct block *block = mem_try_alloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->next = counted->blocks;
    counted->blocks = block;
    return memset(block->bytes, 0, size);
}

char *redis_settings_text(struct redis_settings *settings, const char *text, size_t length)
{
    char *copy = redis_settings_alloc(settings, length + 1);
    if (copy != NULL && length > 0)
        memcpy(copy, text, length);
    return copy;
}

/* The CRC that zlib and Python's binascii have. Names are short, so it goes bit by bit. */
static uint32_t crc32_of(struct name name)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < name.length; i++) {
        crc ^= (unsigned char)name.bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

size_t redis_shard(struct name name, size_t count)
{
    if (count <= 1)
        return 0;
    /* In floating point, as there: for some counts whole numbers would choose differently at an edge. */
    double divisor = 4096 / (double)count;
    return (size_t)((double)(crc32_of(name) & 0xfff) / divisor);
}
