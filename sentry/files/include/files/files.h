/* SPDX-License-Identifier: Apache-2.0
 * files.h - kinds of files without a file system. ERR_PTR on error. */
#ifndef FILES_FILES_H
#define FILES_FILES_H

#include <sys/socket.h>
#include <sys/un.h>

#include <base/err.h>
#include <files/socket_ops.h>
#include <vfs/file.h>

struct attr;
struct itimerspec;
struct process;
struct setattr;
struct epoll_event;

/* --- pipe.c --- */

uint64_t pipes_bytes(void); /* what their buffers may come to hold */
#define PIPE_SIZE_DEFAULT 65536u
#define PIPE_SIZE_MAX (1u << 20)
/* Buffers of all pipes together; beyond it new pipes hold PIPE_BUF bytes and none may grow. */
#define PIPES_BYTES_MAX (64u << 20)

/* @flags: O_NONBLOCK, O_DIRECT (O_CLOEXEC is the descriptor's). */
int pipe_new(uint32_t flags, struct file **ret_read, struct file **ret_write);
/**
 * fifo_open - open() of a fifo inode (vfs hook): sets f->ops and f->private_data.
 *
 * A side that must wait for its partner remembers itself in the current call's state.
 * Return: 0, SYS_PARK (run the open again later), -ENXIO (O_WRONLY | O_NONBLOCK without a reader),
 * -ERESTARTSYS, -ENOMEM.
 */
int fifo_open(struct inode *i, struct file *f);
/* F_GETPIPE_SZ, F_SETPIPE_SZ: the capacity; -EBADF when not a pipe; -EPERM over the limit, -EBUSY
 * when the data would not fit. */
int pipe_size_get(struct file *f);
int pipe_size_set(struct file *f, uint32_t bytes);
bool file_is_pipe(const struct file *f);

/* --- splice.c: bytes moved, 0 at the end, -EAGAIN when none could be (never waits) --- */

/* @pos: NULL for the file's own position; moves. */
ssize_t splice_to_pipe(struct file *in, int64_t *pos, struct file *out, size_t len);
ssize_t splice_from_pipe(struct task *t, struct file *in, struct file *out, int64_t *pos,
                         size_t len);
/* @keep: tee. Not the same pipe. */
ssize_t splice_pipes(struct task *t, struct file *in, struct file *out, size_t len, bool keep);
bool pipe_same(const struct file *a, const struct file *b); /* two ends of one pipe? */

/* --- mqueue.c: POSIX message queues --- */

#define MQ_NAME_MAX 255
#define MQ_QUEUES_MAX 256u /* as fs.mqueue.queues_max; who may exceed it: MQ_QUEUES_HARD */
#define MQ_QUEUES_HARD 1024u
#define MQ_MESSAGES_MAX 10 /* of a queue, as msg_max and its hard limit */
#define MQ_MESSAGES_HARD 65536
#define MQ_SIZE_MAX 8192 /* of a message, as msgsize_max and its hard limit */
#define MQ_SIZE_HARD (16 << 20)
#define MQ_BYTES_MAX (256LL << 20) /* what all queues may come to hold */
struct mq_attr;
struct sigevent;
/* @attr: NULL or a copy, for O_CREAT. ERR_PTR(-ENOENT, -EEXIST, -EACCES, -EINVAL, -ENOSPC, -EMFILE). */
struct file *mqueue_open_file(struct task *t, const char *name, uint32_t oflag, uint32_t mode,
                              const struct mq_attr *attr);
int mqueue_unlink_name(struct task *t, const char *name);
/* One try: -EAGAIN, -EMSGSIZE, -EBADF (no queue, or the wrong mode). */
int mqueue_send(struct file *f, const char *data, size_t size, uint32_t priority);
/* @room must be enough for any message. *ret_data is to be free()d. */
ssize_t mqueue_receive_message(struct file *f, size_t room, char **ret_data,
                               uint32_t *ret_priority);
/* A receiver begins or ends to wait: meanwhile nobody is notified. */
void mqueue_receiver_waits(struct file *f, bool begins);
int mqueue_notify_set(struct task *t, struct file *f,
                      const struct sigevent *e); /* -EBUSY, -EBADF */
int mqueue_attr(struct file *f, const struct mq_attr *new, struct mq_attr *ret_old);

/* --- eventfd.c, timerfd.c --- */

/* @flags: EFD_SEMAPHORE, EFD_NONBLOCK. */
struct file *eventfd_new(uint32_t initval, uint32_t flags);

struct file *timerfd_new(int clock, uint32_t flags);
/* -EINVAL when @f is not a timerfd or a field is out of range. */
int timerfd_set(struct file *f, uint32_t flags, const struct itimerspec *value,
                struct itimerspec *ret_old);
int timerfd_get(struct file *f, struct itimerspec *ret);

/* --- inotify.c, signalfd.c --- */

#define INOTIFY_INSTANCES_MAX 1024u /* of the sandbox */
#define INOTIFY_WATCHES_MAX 65536u
#define INOTIFY_EVENTS_MAX 16384u /* queued on one instance */

/* @flags: O_NONBLOCK. */
struct file *inotify_new(uint32_t flags);
/* Watch @p (a reference is taken) for @mask (IN_*, checked by the caller). The watch's number;
 * -EINVAL when @f is none, -EEXIST (IN_MASK_CREATE), -ENOSPC, -ENOMEM. */
int inotify_watch(struct file *f, const struct path *p, uint32_t mask);
int inotify_unwatch(struct file *f, int32_t wd); /* -EINVAL */

/* @mask: bit n-1 = signal n. @flags: O_NONBLOCK. */
struct file *signalfd_new(uint64_t mask, uint32_t flags);
int signalfd_change(struct file *f, uint64_t mask); /* -EINVAL when @f is none */

/* --- unix.c --- */

void unix_pool_trim(void); /* frees what is kept of it for the next sends */
uint64_t unix_bytes(void); /* what queues on AF_UNIX sockets, as charged */

/* --- epoll.c --- */

#define EPOLL_NEST_MAX 5        /* epolls inside epolls */
#define EPOLL_ITEMS_MAX 200000u /* watched descriptors of the sandbox */

struct file *epoll_new(uint32_t flags);
/* epoll_ctl(2): -EINVAL, -EPERM (not pollable), -EEXIST, -ENOENT, -ELOOP, -ENOSPC, -ENOMEM. */
int epoll_control(struct file *ep, int op, int fd, struct file *target,
                  const struct epoll_event *event);
/* Take up to @max ready events; never waits. -EINVAL when @ep is none. */
int epoll_collect(struct file *ep, struct epoll_event *ret, int max);
bool file_is_epoll(const struct file *f);
uint32_t epoll_items(void); /* watched descriptors of all epolls */
/* Called by file_put's last reference: leave all epolls. */
void epoll_file_gone(struct file *f);
/* The @n-th watched descriptor, for /proc/PID/fdinfo; false at the end. */
bool epoll_item_get(struct file *ep, unsigned n, int *ret_fd, uint32_t *ret_events,
                    uint64_t *ret_data);

/* --- unix*.c: AF_UNIX (socket_ops.h has the calls) --- */

#define SOCKET_BUFFER_DEFAULT 212992u /* bytes queued towards one socket */
#define SOCKET_BUFFER_MAX (4u << 20)
#define SOCKET_BACKLOG_MAX 4096u /* connections that wait for accept, as net.core.somaxconn */

/* --- tty_job.c, pty.c: terminals --- */

#define PTYS_MAX 1024 /* pseudo terminals of a sandbox */
/* open() of /dev/tty: the controlling terminal of the caller's session. -ENXIO. */
int tty_controlling_open(struct file *f);
/* Which terminal a session has, for /proc/PID/stat. */
bool tty_of_session(int32_t sid, uint32_t *ret_rdev, int32_t *ret_pgid);
/* The leader of session @sid has ended: its terminal is nobody's, the foreground hears SIGHUP. */
void tty_session_ended(struct process *leader, int32_t sid);

/* open(): of /dev/ptmx, a new pair (-ENOSPC); of slave @index (-EIO: its master is gone). */
int pty_master_open(struct file *f);
int pty_slave_open(int32_t index, struct file *f);
/* The lowest number of a pair above @after, -1. */
int32_t pty_next(int32_t after);
/* Owner, mode, number and times of a slave's node, after @set (or NULL) has changed the first two.
 * -ENOENT. */
int pty_node(int32_t index, const struct setattr *set, struct attr *ret);

/* As /proc/net/unix and sock_diag show it. */
struct unix_info {
    uint64_t cookie, ino, peer_ino; /* ino 0: nobody has accepted it */
    uint64_t file_ino, file_dev;    /* what it is bound to */
    int type;
    bool listening, connected;
    uint8_t shutdown; /* 1 for receiving, 2 for sending */
    uint32_t uid, references;
    uint32_t receive, send; /* bytes queued, or of a listener: connections, backlog */
    uint32_t name_len;      /* 0: none */
    struct sockaddr_un name;
};
/* Up to @most sockets made after the one with cookie @after (0: all), oldest first. */
unsigned unix_infos(uint64_t after, struct unix_info *ret, unsigned most);

/* --- hostfile.c --- */

/* A terminal of the host: one for each caller that may have one. A reference; NULL no memory. */
struct host_terminal;
struct host_terminal *host_terminal_new(void);
void host_terminal_put(struct host_terminal *t);
/* The controlling terminal of session @sid, if any of its descriptors was a terminal; once. */
void host_terminal_give(struct host_terminal *t, int32_t sid);
/* What /dev/console opens for those who have no terminal of the host; for the life of the sandbox. */
void host_terminal_console(struct host_terminal *t);
/* Its foreground process group as the guest sees it, for signals that the CLI relays (SIGINT, SIGQUIT,
 * SIGTSTP, SIGWINCH); 0: nobody has asked for it, or @t is NULL or none: send to the command. */
int32_t host_terminal_foreground(struct host_terminal *t);
/* The caller has gone: its session hears SIGHUP, reads find the end, writes and ioctls fail. */
void host_terminal_hangup(struct host_terminal *t);

/* A descriptor of the host (a caller's stdin, stdout, stderr), taken over. Terminal ioctls are
 * passed on when it is a terminal. Never blocks: readiness by io_poll. @flags: access mode and
 * O_APPEND in case the host does not tell them. @terminal: what it belongs to if it is one, or NULL: then
 * it is nobody's controlling terminal. */
struct file *hostfile_new(int fd, uint32_t flags, struct host_terminal *terminal);
/* How many there are. */
uint32_t hostfile_count(void);
/* Is it a terminal of the host? Its place in the tree is /dev/console, which opens the session's own, else
 * that of host_terminal_console() (-ENXIO: there is none). */
bool hostfile_is_tty(const struct file *f);
int hostfile_console_open(struct file *f);

#endif
