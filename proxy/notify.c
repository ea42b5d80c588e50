#include "proxy/notify.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/banned.h"

static const char *notify_socket; /* borrowed from the environment */

void
notify_setup(const char *socket)
{
	notify_socket = socket;
}

void
notify_service_manager(const char *state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	size_t len = notify_socket == NULL ? 0 : strlen(notify_socket);
	int fd;

	if (len == 0 || len >= sizeof sa.sun_path)
		return;
	memcpy(sa.sun_path, notify_socket, len);
	if (sa.sun_path[0] == '@')
		sa.sun_path[0] = '\0'; /* an abstract name */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* Nobody can be told that the manager does not listen. */
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL,
	    (struct sockaddr *)&sa,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}
