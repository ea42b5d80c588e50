#include "proxy/admin_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/banned.h"

#define SCHEME "unix:"

static const char *
path_of(const struct listen_address *a)
{
	return ((const struct sockaddr_un *)(const void *)&a->sa)->sun_path;
}

bool
admin_socket_address(
    const char *url, struct listen_address *out, struct fault *why)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	const char *path = url + strlen(SCHEME);
	size_t len = strlen(path);

	if (len >= sizeof un.sun_path)
		return fault_set(why,
		    "the path of the admin socket, %s, is longer than %zu "
		    "bytes: set server.admin to a shorter one",
		    path, sizeof un.sun_path - 1);
	memcpy(un.sun_path, path, len + 1);
	*out = (struct listen_address){.len = sizeof un};
	memcpy(&out->sa, &un, sizeof un);
	return true;
}

static int
new_socket(struct fault *why)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fault_errno(why, "no admin socket");
	return fd;
}

/* Takes away what a gateway that is no more has left there.  False with the
 * reason if that is anything else. */
static bool
clear_place(const struct listen_address *a, struct fault *why)
{
	const char *path = path_of(a);
	struct stat st;
	int fd, error;

	if (lstat(path, &st) != 0)
		return true;
	if (!S_ISSOCK(st.st_mode))
		return fault_set(why,
		    "%s (server.admin) is there and is no socket: move it "
		    "away",
		    path);
	if ((fd = new_socket(why)) < 0)
		return false;
	error = connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0
	    ? 0
	    : errno;
	close(fd);
	if (error != ECONNREFUSED && error != ENOENT)
		return fault_set(why,
		    "another program listens at %s (server.admin): give this "
		    "gateway a path of its own",
		    path);
	if (unlink(path) != 0 && errno != ENOENT)
		return fault_errno(why, "cannot replace %s", path);
	return true;
}

int
admin_socket_bind(const struct listen_address *a, struct fault *why)
{
	int fd;

	if (!clear_place(a, why) || (fd = new_socket(why)) < 0)
		return -1;
	if (bind(fd, (const struct sockaddr *)&a->sa, a->len) != 0) {
		fault_errno(why, "cannot make %s (server.admin)", path_of(a));
		close(fd);
		return -1;
	}
	if (chmod(path_of(a), ADMIN_SOCKET_MODE) != 0) {
		fault_errno(why, "cannot set the mode of %s (server.admin)",
		    path_of(a));
		close(fd);
		return -1;
	}
	return fd;
}

void
admin_socket_remove(const struct listen_address *a)
{
	(void)!unlink(path_of(a));
}
