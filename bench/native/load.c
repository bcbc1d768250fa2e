/* Reads many streams at once and says how they came.
 *
 *     load [-m] [-s SECONDS] [-H HEADER]... PORT PATH BODY STREAMS AT_ONCE A_SECOND TOKENS
 *
 * STREAMS requests in all, AT_ONCE of them under way, at most A_SECOND begun each second (0: no
 * bound). BODY is POSTed as JSON; `-` makes it a GET. A stream is whole when its response ends with
 * TOKENS tokens. -s gives up after so many seconds and reports what came until then. -m prints a
 * line `{"marked": N}`, N the tokens so far, once every stream has had its first token, and counts
 * and times only the tokens after it.
 * Prints one line of JSON; times in microseconds. Exit 1 unless every stream was whole.
 */
#include "common.h"

typedef struct slot {
    int fd, open, unsent, reused, answered, busy, tokens, failed;
    int64_t asked;
    size_t carry_len, tail_len;
    char carry[32], tail[8];
} slot;

static slot *slots, **idle; /* `idle` is a stack of those that have nothing to read */
static int idle_len, poller, port, wanted_tokens;
static char request_text[16384];
static size_t request_len;
static int64_t *ages, *firsts;
static size_t ages_len, ages_room, firsts_len;
static long whole, broken, begun, streams;
static char first_failure[200];

static void watch(slot *s, int operation, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = s};
    epoll_ctl(poller, operation, s->fd, &e);
}

static void hang_up(slot *s) {
    if (s->open) close(s->fd);
    s->open = s->unsent = 0;
}

static void end(slot *s, const char *why, const char *said, size_t n) {
    if (s->tokens == wanted_tokens && !s->failed) {
        whole++;
    } else {
        broken++;
        if (!*first_failure)
            snprintf(first_failure, sizeof first_failure, "%s after %d tokens: %.*s", why, s->tokens,
                     (int)(n < 100 ? n : 100), said);
    }
    s->busy = 0;
    idle[idle_len++] = s;
}

/* Over a new connection. For a kept one that closed before it answered: that is no fault. */
static void dial(slot *s);

static void send_request(slot *s) {
    s->unsent = 0;
    if (send(s->fd, request_text, request_len, MSG_NOSIGNAL) == (ssize_t)request_len) return;
    hang_up(s);
    if (s->reused) s->reused = 0, dial(s);
    else end(s, "not sent", "", 0);
}

/* Without waiting: a relay whose backlog is full must not hold up the reading of all other streams. */
static void dial(slot *s) {
    struct sockaddr_in address = loopback(port);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (s->fd < 0) die("socket");
    s->open = s->unsent = 1;
    no_delay(s->fd);
    if (connect(s->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
        hang_up(s);
        return end(s, "no connection", "", 0);
    }
    watch(s, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void ask(slot *s) {
    begun++;
    s->busy = 1;
    s->tokens = s->failed = s->answered = 0;
    s->reused = s->open;
    s->carry_len = s->tail_len = 0;
    s->asked = now_us();
    if (s->open) send_request(s);
    else dial(s);
}

static void token(slot *s, int64_t sent, int64_t now) {
    if (!s->tokens++) firsts[firsts_len++] = now - s->asked;
    if (ages_len == ages_room) {
        ages_room = ages_room ? 2 * ages_room : 1 << 20;
        ages = realloc(ages, sizeof *ages * ages_room);
        if (!ages) die("realloc");
    }
    ages[ages_len++] = now - sent;
}

/* Find `@digits ` in what came; what is cut off at its end waits for the next read. */
static void scan(slot *s, char *data, size_t n, int64_t now) {
    char *at = data, *stop = data + n;
    while ((at = memchr(at, '@', (size_t)(stop - at)))) {
        char *digit = at + 1;
        int64_t sent = 0;
        while (digit < stop && *digit >= '0' && *digit <= '9') sent = sent * 10 + (*digit++ - '0');
        if (digit == stop) {
            s->carry_len = (size_t)(stop - at);
            if (s->carry_len > sizeof s->carry) s->carry_len = 0;
            memcpy(s->carry, at, s->carry_len);
            return;
        }
        if (digit > at + 1) token(s, sent, now);
        at = digit;
    }
}

/* Whether the last chunk is there, however its bytes were cut. */
static int ended(slot *s, const char *data, size_t n) {
    char last[16];
    size_t keep = s->tail_len, take = n < 8 ? n : 8;
    memcpy(last, s->tail, keep);
    memcpy(last + keep, data + n - take, take);
    size_t len = keep + take, from = len > 7 ? len - 7 : 0;
    s->tail_len = len - from;
    memcpy(s->tail, last + from, s->tail_len);
    return s->tail_len == 7 && memcmp(s->tail, "\r\n0\r\n\r\n", 7) == 0;
}

static void readable(slot *s) {
    static char buffer[1 << 18];
    size_t held = s->carry_len;
    memcpy(buffer, s->carry, held);
    ssize_t n = recv(s->fd, buffer + held, sizeof buffer - held, 0);
    if (n < 0 && errno == EAGAIN) return;
    s->carry_len = 0;
    if (n <= 0) {
        hang_up(s);
        if (!s->busy) return;
        if (s->reused && !s->answered) s->reused = 0, dial(s);
        else end(s, "closed", "", 0);
        return;
    }
    if (!s->busy) return;
    s->answered = 1;
    if (!s->tokens && n > 12 && memcmp(buffer + held, "HTTP/1.", 7) == 0 &&
        memcmp(buffer + held + 9, "200", 3) != 0)
        s->failed = 1;
    scan(s, buffer, held + (size_t)n, now_us());
    if (ended(s, buffer + held, (size_t)n)) {
        end(s, "ended", buffer + held, (size_t)n);
    } else if (s->failed) {
        hang_up(s);
        end(s, "refused", buffer + held, (size_t)n);
    }
}

static void event(slot *s, uint32_t events) {
    if (s->unsent && events & EPOLLOUT && !(events & (EPOLLERR | EPOLLHUP))) {
        watch(s, EPOLL_CTL_MOD, EPOLLIN);
        send_request(s);
    }
    if (s->open && events & ~(uint32_t)EPOLLOUT) readable(s);
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static long long percentile(int64_t *values, size_t n, double p) {
    return n ? (long long)values[(size_t)((double)(n - 1) * p)] : -1;
}

static void report(int64_t took) {
    if (ages_len) qsort(ages, ages_len, sizeof *ages, by_size);
    if (firsts_len) qsort(firsts, firsts_len, sizeof *firsts, by_size);
    for (char *c = first_failure; *c; c++)
        if (*c == '"' || *c == '\\' || *c < 32 || *c > 126) *c = ' ';
    printf("{\"streams\": %ld, \"whole\": %ld, \"broken\": %ld, \"tokens\": %zu, \"seconds\": %.4f, "
           "\"age_p50\": %lld, \"age_p99\": %lld, \"first_p50\": %lld, \"first_p99\": %lld, "
           "\"failure\": \"%s\"}\n",
           begun, whole, broken, ages_len, (double)took / 1e6, percentile(ages, ages_len, 0.5),
           percentile(ages, ages_len, 0.99), percentile(firsts, firsts_len, 0.5),
           percentile(firsts, firsts_len, 0.99), first_failure);
}

static void run(double a_second, int64_t most, int mark) {
    struct epoll_event events[256];
    int64_t start = now_us(), now = start, silent_since = start;
    while (whole + broken < streams) {
        while (begun < streams && idle_len > 0) {
            if (a_second > 0 && (double)begun > (double)(now - start) / 1e6 * a_second) break;
            long before = broken;
            ask(idle[--idle_len]);
            if (broken > before) break;
        }
        int n = epoll_wait(poller, events, 256, begun < streams ? 1 : 100);
        for (int i = 0; i < n; i++) event(events[i].data.ptr, events[i].events);
        now = now_us();
        if (n) silent_since = now;
        if (mark && (long)firsts_len == streams) {
            printf("{\"marked\": %zu}\n", ages_len);
            fflush(stdout);
            ages_len = 0;
            mark = 0;
        }
        if (most && now - start > most) break;
        if (!most && now - silent_since > 30000000) {
            strcpy(first_failure, "30 s of silence");
            break;
        }
    }
    report(now_us() - start);
}

int main(int argc, char **argv) {
    char headers[4096] = "";
    int64_t most = 0;
    int mark = 0;
    for (int option; (option = getopt(argc, argv, "+ms:H:")) != -1;) {
        size_t len = strlen(headers);
        if (option == 'm') mark = 1;
        else if (option == 's') most = (int64_t)(atof(optarg) * 1e6);
        else if (option == 'H') snprintf(headers + len, sizeof headers - len, "%s\r\n", optarg);
        else return 2;
    }
    argv += optind;
    if (argc - optind != 7) return fputs("see the head of load.c for the arguments\n", stderr), 2;
    const char *body = strcmp(argv[2], "-") ? argv[2] : "";
    port = atoi(argv[0]);
    streams = atol(argv[3]);
    int at_once = atoi(argv[4]);
    wanted_tokens = atoi(argv[6]);
    request_len = (size_t)snprintf(
        request_text, sizeof request_text,
        "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/event-stream\r\n"
        "Content-Type: application/json\r\nAuthorization: Bearer bench\r\n%s"
        "Content-Length: %zu\r\n\r\n%s",
        *body ? "POST" : "GET", argv[1], port, headers, strlen(body), body);
    if (request_len >= sizeof request_text) return fputs("the request is too long\n", stderr), 2;
    many_files();
    slots = calloc((size_t)at_once, sizeof *slots);
    idle = calloc((size_t)at_once, sizeof *idle);
    firsts = calloc((size_t)streams, sizeof *firsts);
    if (!slots || !idle || !firsts) die("calloc");
    while (idle_len < at_once) idle[idle_len] = &slots[idle_len], idle_len++;
    poller = epoll_create1(0);
    run(atof(argv[5]), most, mark);
    return whole == streams ? 0 : 1;
}
