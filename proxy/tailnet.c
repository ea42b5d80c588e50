#include "proxy/tailnet.h"

#include <ifaddrs.h>
#include <string.h>

#include "base/banned.h"

/* The interface is tailscale0 by default; a carrier's NAT may hand out
 * addresses of the same IPv4 range on others. */
#define INTERFACE_PREFIX "tailscale"

static struct address_list *
tailnet_ranges(void)
{
	struct address_list *l = address_list_create();

	if (!address_list_add(l, SLICE("100.64.0.0/10"), NULL) ||
	    !address_list_add(l, SLICE("fd7a:115c:a1e0::/48"), NULL))
		address_list_destroy(&l);
	else
		address_list_seal(l);
	return l;
}

size_t
tailnet_addresses(struct address out[TAILNET_ADDRESSES_MOST])
{
	struct address_list *ranges = tailnet_ranges();
	struct ifaddrs *all = NULL;
	size_t n = 0;

	if (ranges == NULL || getifaddrs(&all) != 0) {
		address_list_destroy(&ranges);
		return 0;
	}
	for (struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
		struct address a;

		if (i->ifa_addr == NULL ||
		    (i->ifa_addr->sa_family != AF_INET &&
			i->ifa_addr->sa_family != AF_INET6) ||
		    strncmp(i->ifa_name, INTERFACE_PREFIX,
			strlen(INTERFACE_PREFIX)) != 0)
			continue;
		a = address_of(i->ifa_addr);
		if (address_list_has(ranges, &a) && n < TAILNET_ADDRESSES_MOST)
			out[n++] = a;
	}
	freeifaddrs(all);
	address_list_destroy(&ranges);
	return n;
}
