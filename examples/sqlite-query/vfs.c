/* All that SQLite asks of an operating system here: memory databases only, the host's clock, no randomness. Files
 * that SQLite would open (journals, temporary files) are refused, so a query that needs one fails and says so. */
#include <sqlite3.h>
#include <string.h>
#include <time.h>

static const sqlite3_int64 UNIX_EPOCH_MS = 210866760000000; /* in milliseconds of the Julian day */

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out) {
    (void)vfs, (void)name, (void)flags, (void)out;
    file->pMethods = NULL;
    return SQLITE_CANTOPEN;
}

static int delete_file(sqlite3_vfs *vfs, const char *name, int sync) {
    (void)vfs, (void)name, (void)sync;
    return SQLITE_IOERR_DELETE;
}

static int access_file(sqlite3_vfs *vfs, const char *name, int flags, int *answer) {
    (void)vfs, (void)name, (void)flags;
    *answer = 0;
    return SQLITE_OK;
}

static int full_pathname(sqlite3_vfs *vfs, const char *name, int size, char *full) {
    (void)vfs;
    sqlite3_snprintf(size, full, "%s", name);
    return SQLITE_OK;
}

static int randomness(sqlite3_vfs *vfs, int size, char *bytes) {
    (void)vfs;
    memset(bytes, 0, (size_t)size); /* equal inputs must give equal outputs */
    return size;
}

static int no_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs;
    return microseconds;
}

static int current_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *now) {
    (void)vfs;
    *now = UNIX_EPOCH_MS + 1000 * (sqlite3_int64)time(NULL);
    return SQLITE_OK;
}

static int current_time(sqlite3_vfs *vfs, double *now) {
    sqlite3_int64 milliseconds;
    current_time_ms(vfs, &milliseconds);
    *now = (double)milliseconds / 86400000.0;
    return SQLITE_OK;
}

static int last_error(sqlite3_vfs *vfs, int size, char *text) {
    (void)vfs, (void)size, (void)text;
    return 0;
}

int sqlite3_os_init(void) {
    static sqlite3_vfs vfs = {
        .iVersion = 2,
        .szOsFile = sizeof(sqlite3_file),
        .mxPathname = 512,
        .zName = "none",
        .xOpen = open_file,
        .xDelete = delete_file,
        .xAccess = access_file,
        .xFullPathname = full_pathname,
        .xRandomness = randomness,
        .xSleep = no_sleep,
        .xCurrentTime = current_time,
        .xGetLastError = last_error,
        .xCurrentTimeInt64 = current_time_ms,
    };
    return sqlite3_vfs_register(&vfs, 1);
}

int sqlite3_os_end(void) { return SQLITE_OK; }
