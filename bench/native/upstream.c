/* An OpenAI-compatible upstream that costs next to nothing, so that what is measured is the relay.
 *
 *     upstream PORT
 *
 * The name of the model says what is sent: `burst-N` is N tokens as fast as they are taken, about a
 * hundred in a write, and `burst-N-K` K in a write; `paced-N-R` is N tokens at R a second, the first
 * at once; `quiet` is one token and then silence.
 * Every token is one event in a chunk of about 250 bytes, and its text is `@MICROSECONDS `: the time
 * at which it was written.
 */
#include "common.h"

enum { READING, BURST, PACED };
enum { ROOM_FOR_END = 2048 }; /* the last token, the chunks behind it, and a head before it */

typedef struct conn {
    int fd, state, left, each, writable;
    int64_t due, interval;
    int heap_at; /* in the heap of those that wait for their next token; -1: not there */
    size_t in_len, out_len, out_at;
    char in[16384];  /* a request: relays send well under a kilobyte */
    char out[32768]; /* about a hundred tokens */
} conn;

static conn **heap;
static int heap_len, heap_room;
static int poller;

static void heap_put(int at, conn *c) {
    heap[at] = c;
    c->heap_at = at;
}

static void heap_up(int at) {
    conn *c = heap[at];
    while (at && heap[(at - 1) / 2]->due > c->due) {
        heap_put(at, heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(at, c);
}

static void heap_down(int at) {
    conn *c = heap[at];
    for (int child; (child = 2 * at + 1) < heap_len; at = child) {
        if (child + 1 < heap_len && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        heap_put(at, heap[child]);
    }
    heap_put(at, c);
}

static void heap_add(conn *c) {
    if (heap_len == heap_room) {
        heap_room = heap_room ? 2 * heap_room : 1024;
        heap = realloc(heap, sizeof *heap * (size_t)heap_room);
        if (!heap) die("realloc");
    }
    heap_put(heap_len++, c);
    heap_up(heap_len - 1);
}

static void heap_remove(conn *c) {
    int at = c->heap_at;
    c->heap_at = -1;
    conn *last = heap[--heap_len];
    if (last == c) return;
    heap_put(at, last);
    heap_up(at);
    heap_down(last->heap_at);
}

static void leave(conn *c) {
    if (c->heap_at >= 0) heap_remove(c);
    close(c->fd);
    free(c);
}

/* Write what is waiting; 0 when the peer has gone. */
static int flush(conn *c) {
    while (c->out_at < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            c->writable = 0;
            return 1;
        }
        if (n <= 0) return 0;
        c->out_at += (size_t)n;
    }
    c->out_at = c->out_len = 0;
    return 1;
}

static void put(conn *c, const char *data, size_t n) {
    memcpy(c->out + c->out_len, data, n);
    c->out_len += n;
}

static void put_chunk(conn *c, const char *data, size_t n) {
    c->out_len += (size_t)sprintf(c->out + c->out_len, "%zx\r\n", n);
    put(c, data, n);
    put(c, "\r\n", 2);
}

#define HEAD                                                                                      \
    "data: {\"id\":\"chatcmpl-AkfqUTJ5Jd0v8vY3yZbq0mFh6mKpL\",\"object\":\"chat.completion."      \
    "chunk\",\"created\":1795354284,\"model\":\"gpt-4o-mini-2024-07-18\","                        \
    "\"system_fingerprint\":\"fp_0ba0d124f1\",\"choices\":[{\"index\":0,\"delta\":"

static void put_token(conn *c) {
    char event[512];
    int n = sprintf(event, HEAD "{\"content\":\"@%lld \"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                    (long long)now_us());
    put_chunk(c, event, (size_t)n);
    c->left--;
}

static void put_end(conn *c) {
    static const char stop[] = HEAD "{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n";
    static const char usage[] =
        "data: {\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":"
        "{\"prompt_tokens\":9,\"completion_tokens\":12,\"total_tokens\":21}}\n\n";
    static const char done[] = "data: [DONE]\n\n";
    put_chunk(c, stop, sizeof stop - 1);
    put_chunk(c, usage, sizeof usage - 1);
    put_chunk(c, done, sizeof done - 1);
    put(c, "0\r\n\r\n", 5);
    c->state = READING;
}

/* All that a burst may send now; 0 when the peer has gone. */
static int burst(conn *c) {
    while (c->state == BURST && c->writable) {
        for (int n = 0; n < c->each && c->left && c->out_len < sizeof c->out - ROOM_FOR_END; n++)
            put_token(c);
        if (!c->left) put_end(c);
        if (!flush(c)) return 0;
    }
    return 1;
}

/* The token that is due; one for which a stalled reader leaves no room waits for the next turn. */
static int paced(conn *c) {
    if (c->out_len < sizeof c->out - ROOM_FOR_END) put_token(c);
    if (c->left) {
        c->due += c->interval;
        heap_add(c);
    } else {
        put_end(c);
    }
    return flush(c);
}

static int begin(conn *c, const char *body) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        "Transfer-Encoding: chunked\r\n\r\n";
    const char *model = strstr(body, "burst-");
    int rate = 0;
    put(c, head, sizeof head - 1);
    c->each = INT_MAX;
    if (model && sscanf(model, "burst-%d-%d", &c->left, &c->each) >= 1 && c->each > 0) {
        c->state = BURST;
        return burst(c);
    }
    if (strstr(body, "\"quiet\"")) {
        c->state = PACED;
        c->left = 1;
        put_token(c);
        return flush(c);
    }
    model = strstr(body, "paced-");
    if (!model || sscanf(model, "paced-%d-%d", &c->left, &rate) != 2 || rate < 1) return 0;
    c->state = PACED;
    c->interval = 1000000 / rate;
    c->due = now_us();
    return paced(c);
}

static int answer_models(conn *c) {
    static const char body[] = "{\"object\":\"list\",\"data\":[{\"id\":\"burst-10\",\"object\":\"model\"}]}";
    c->out_len += (size_t)sprintf(c->out + c->out_len,
                                  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                  "Content-Length: %zu\r\n\r\n%s",
                                  sizeof body - 1, body);
    return flush(c);
}

/* Take a request if one is whole; 0 when the peer has gone or sends what is not one. */
static int request(conn *c) {
    char *end, *length;
    if (c->state != READING || !c->in_len) return 1;
    c->in[c->in_len] = 0;
    if (!(end = strstr(c->in, "\r\n\r\n"))) return c->in_len < sizeof c->in - 1;
    *end = 0;
    length = strcasestr(c->in, "\r\ncontent-length:");
    size_t body = length ? (size_t)atol(length + 17) : 0;
    size_t whole = (size_t)(end + 4 - c->in) + body;
    *end = '\r';
    if (whole >= sizeof c->in) return 0;
    if (c->in_len < whole) return 1;
    char after = c->in[whole];
    c->in[whole] = 0;
    int fine = strncmp(c->in, "GET ", 4) == 0 ? answer_models(c) : begin(c, end + 4);
    if (!fine) return 0;
    c->in[whole] = after;
    memmove(c->in, c->in + whole, c->in_len - whole);
    c->in_len -= whole;
    return 1;
}

static int readable(conn *c) {
    for (;;) {
        ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - 1 - c->in_len, 0);
        if (n < 0 && errno == EAGAIN) return 1;
        if (n <= 0) return 0;
        c->in_len += (size_t)n;
        if (!request(c)) return 0;
    }
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        conn *c = malloc(sizeof *c);
        if (!c) die("malloc");
        memset(c, 0, offsetof(conn, in)); /* not the buffers: most of their pages are never used */
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        no_delay(fd);
        c->fd = fd;
        c->heap_at = -1;
        c->writable = 1;
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

static void event(conn *c, uint32_t events) {
    int alive = !(events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP));
    if (alive && events & EPOLLOUT) {
        c->writable = 1;
        alive = flush(c) && burst(c);
    }
    if (alive && events & EPOLLIN) alive = readable(c);
    if (!alive) leave(c);
}

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: upstream PORT\n"), 2;
    many_files();
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = loopback(atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address)) die("bind");
    if (listen(listener, 4096)) die("listen");
    poller = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct timespec wait = {0, 0}, *until = NULL;
        if (heap_len) {
            int64_t left = heap[0]->due - now_us();
            if (left > 0) wait = (struct timespec){left / 1000000, left % 1000000 * 1000};
            until = &wait;
        }
        int n = epoll_pwait2(poller, events, 256, until, NULL);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) event(events[i].data.ptr, events[i].events);
            else accept_all(listener);
        }
        for (int64_t now = now_us(); heap_len && heap[0]->due <= now;) {
            conn *c = heap[0];
            heap_remove(c);
            if (!paced(c)) leave(c);
        }
    }
}
