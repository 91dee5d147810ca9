/* Ask a database file: `sqlite_query DATABASE < query.sql > answer.csv`.
 *
 * The file is read into memory and may be changed there; nothing is written back. Rows of all statements go out as CSV
 * with a line of names before each statement's rows: NULL as nothing, BLOBs in hexadecimal, quotes only where needed. */
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_STEP = 1 << 16, MOST_BYTES = 1 << 29, USAGE = 2 };

/* Read `file` whole, with a 0 behind the last byte, by sqlite3_malloc. NULL if there's too much of it. */
static unsigned char *read_all(FILE *file, size_t *length) {
    unsigned char *bytes = NULL;
    size_t used = 0, capacity = 0, got;
    do {
        if (capacity < used + READ_STEP + 1) {
            capacity = capacity ? 2 * capacity : 2 * READ_STEP;
            unsigned char *larger = capacity <= MOST_BYTES ? sqlite3_realloc64(bytes, capacity) : NULL;
            if (larger == NULL) {
                sqlite3_free(bytes);
                return NULL;
            }
            bytes = larger;
        }
        got = fread(bytes + used, 1, READ_STEP, file);
        used += got;
    } while (got > 0);
    bytes[used] = 0;
    *length = used;
    return ferror(file) ? NULL : bytes;
}

static void print_text(const unsigned char *text, size_t length) {
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        quoted |= text[i] == ',' || text[i] == '"' || text[i] == '\n' || text[i] == '\r';
    }
    if (!quoted) {
        fwrite(text, 1, length, stdout);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"') {
            putchar('"');
        }
        putchar(text[i]);
    }
    putchar('"');
}

static void print_value(sqlite3_stmt *statement, int column) {
    if (sqlite3_column_type(statement, column) == SQLITE_BLOB) {
        const unsigned char *bytes = sqlite3_column_blob(statement, column);
        for (int i = 0; i < sqlite3_column_bytes(statement, column); i++) {
            printf("%02x", bytes[i]);
        }
        return;
    }
    const unsigned char *text = sqlite3_column_text(statement, column);
    if (text != NULL) {
        print_text(text, (size_t)sqlite3_column_bytes(statement, column));
    }
}

static int run_statement(sqlite3_stmt *statement, unsigned long long *rows) {
    int columns = sqlite3_column_count(statement), status;
    for (int i = 0; i < columns; i++) {
        const char *name = sqlite3_column_name(statement, i);
        print_text((const unsigned char *)name, strlen(name));
        putchar(i + 1 < columns ? ',' : '\n');
    }
    while ((status = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int i = 0; i < columns; i++) {
            print_value(statement, i);
            putchar(i + 1 < columns ? ',' : '\n');
        }
        ++*rows;
    }
    return status == SQLITE_DONE ? SQLITE_OK : status;
}

static int run_all(sqlite3 *database, const char *sql) {
    unsigned long long rows = 0;
    while (*sql != '\0') {
        sqlite3_stmt *statement = NULL;
        int status = sqlite3_prepare_v2(database, sql, -1, &statement, &sql);
        if (status == SQLITE_OK && statement != NULL) { /* NULL: only a comment or space was left */
            status = run_statement(statement, &rows);
        }
        sqlite3_finalize(statement);
        if (status != SQLITE_OK) {
            fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(database));
            return 1;
        }
    }
    fprintf(stderr, "SQLite %s: %llu rows\n", sqlite3_libversion(), rows);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: sqlite_query DATABASE < query.sql > answer.csv\n", stderr);
        return USAGE;
    }
    size_t length, sql_length;
    FILE *file = fopen(argv[1], "rb");
    unsigned char *bytes = file == NULL ? NULL : read_all(file, &length);
    unsigned char *sql = read_all(stdin, &sql_length);
    sqlite3 *database = NULL;
    if (bytes == NULL || sql == NULL) {
        fprintf(stderr, "can't read %s\n", bytes == NULL ? argv[1] : "the query from standard input");
        return 1;
    }
    fclose(file);
    if (sqlite3_open(":memory:", &database) != SQLITE_OK ||
        sqlite3_deserialize(database, "main", bytes, (sqlite3_int64)length, (sqlite3_int64)length,
                            SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE) != SQLITE_OK) {
        fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(database));
        return 1;
    }
    int status = run_all(database, (const char *)sql);
    return fflush(stdout) == 0 ? status : 1;
}
