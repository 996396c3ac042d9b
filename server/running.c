#include "server/running.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/list.h"
#include "server/server_state.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list_node servers = { &servers, &servers };
static _Atomic pid_t process; /* whose threads they are */

void running_add(struct server *server)
{
    pthread_mutex_lock(&lock);
    if (atomic_exchange(&process, getpid()) != getpid())
        while (!list_empty(&servers)) /* those of the process that this one is a fork of */
            list_remove(servers.next);
    list_append(&servers, &server->of_running);
    pthread_mutex_unlock(&lock);
}

void running_remove(struct server *server)
{
    pthread_mutex_lock(&lock);
    list_remove(&server->of_running);
    pthread_mutex_unlock(&lock);
}

void running_halt(void)
{
    if (atomic_load(&process) != getpid())
        return; /* none was started here; in a fork somebody may have held the lock for ever */
    pthread_mutex_lock(&lock);
    while (!list_empty(&servers)) {
        struct server *server = list_entry(servers.next, struct server, of_running);
        list_remove(&server->of_running);
        atomic_store(&server->halted, true);
        uv_async_send(&server->wake);
        uv_thread_join(&server->thread);
    }
    pthread_mutex_unlock(&lock);
}
