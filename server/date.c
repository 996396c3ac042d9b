#include "server/date.h"

#include <stdio.h>

const char *date_text(struct date *date)
{
    /* strftime would write the names in the locale's language. */
    static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == date->second && date->text[0] != '\0')
        return date->text;
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    snprintf(date->text, sizeof date->text, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[utc.tm_wday], (unsigned)utc.tm_mday % 100,
             months[utc.tm_mon], (unsigned)(utc.tm_year + 1900) % 10000, (unsigned)utc.tm_hour % 100,
             (unsigned)utc.tm_min % 100, (unsigned)utc.tm_sec % 100);
    date->second = now.tv_sec;
    return date->text;
}
