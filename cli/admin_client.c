#include "cli/admin_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/locate.h"

#include "base/banned.h"

#define ANSWER_MOST_BYTES ((size_t)256 << 20)
#define PIECE_BYTES ((size_t)64 << 10)
#define PATIENCE_SECONDS 5

const char *
admin_socket_given(const char *given)
{
	const char *path = given != NULL ? given : getenv("WEIR_SOCKET");

	if (path == NULL || path[0] == '\0')
		return NULL;
	return strncmp(path, "unix:", 5) == 0 ? path + 5 : path;
}

const char *
admin_socket_of(const struct config *c)
{
	return c->server.admin + strlen("unix:");
}

/* What a connection that could not be made means. */
static int
tell_unreachable(const char *path, int error, struct fault *why)
{
	if (error == EACCES || error == EPERM) {
		fault_set(why,
		    "you may not use the gateway's socket %s. Try the same "
		    "with sudo, or as the gateway's user",
		    path);
		return EXIT_NOT_ALLOWED;
	}
	fault_set(why,
	    "no gateway answers at %s (%s). Start one with: weir serve. "
	    "Another socket is named by --socket or $WEIR_SOCKET",
	    path, strerror(error));
	return EXIT_UNREACHABLE;
}

static int
open_socket(const char *path, int *fd, struct fault *why)
{
	struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int status = EXIT_OK;

	if (len >= sizeof un.sun_path)
		return tell_unreachable(path, ENAMETOOLONG, why);
	memcpy(un.sun_path, path, len + 1);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return tell_unreachable(path, errno, why);
	setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(*fd, (const struct sockaddr *)&un, sizeof un) != 0) {
		status = tell_unreachable(path, errno, why);
		close(*fd);
	}
	return status;
}

static bool
send_request(int fd, const char *document)
{
	struct buf text = {0};
	bool ok;

	buf_printf(&text,
	    "GET %s HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n",
	    document);
	ok = send(fd, buf_data(&text), buf_len(&text), MSG_NOSIGNAL) ==
	    (ssize_t)buf_len(&text);
	buf_release(&text);
	return ok;
}

/* Reads until the other side closes. */
static bool
read_answer(int fd, struct buf *to)
{
	ssize_t n = 1;

	while (n > 0) {
		char *room = buf_reserve(to, PIECE_BYTES, ANSWER_MOST_BYTES);

		if (room == NULL)
			return false;
		n = recv(fd, room, PIECE_BYTES, 0);
		if (n > 0)
			buf_commit(to, (size_t)n);
	}
	return n == 0;
}

/* Takes the body out of a whole answer that says 200 and tells its length. */
static bool
take_body(const struct buf *answer, struct buf *body)
{
	static const char ok[] = "HTTP/1.1 200 ", field[] = "Content-Length: ";
	const char *p = buf_data(answer), *end, *length;
	size_t len = buf_len(answer), head;

	end = memmem(p, len, "\r\n\r\n", 4);
	if (end == NULL || strncmp(p, ok, sizeof ok - 1) != 0)
		return false;
	head = (size_t)(end - p);
	length = memmem(p, head, field, sizeof field - 1);
	if (length == NULL ||
	    strtoull(length + sizeof field - 1, NULL, 10) != len - head - 4)
		return false;
	buf_put(body, end + 4, len - head - 4);
	return true;
}

int
admin_get(const char *socket_path, const char *document, struct buf *body,
    struct fault *why)
{
	struct buf answer = {0};
	int fd = -1, status = open_socket(socket_path, &fd, why);
	bool ok;

	if (status != EXIT_OK)
		return status;
	ok = send_request(fd, document) && read_answer(fd, &answer) &&
	    take_body(&answer, body);
	close(fd);
	buf_release(&answer);
	if (ok)
		return EXIT_OK;
	fault_set(why,
	    "what listens at %s gave no answer to GET %s: is it a gateway of "
	    "this version?",
	    socket_path, document);
	return EXIT_UNREACHABLE;
}
