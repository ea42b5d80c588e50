/*
 * Any bytes as a price map: what is taken has names, and prices in range.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "metering/price.h"
#include "metering/price_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must_be_price(int64_t pusd)
{
	if (pusd < -1 || pusd > PRICE_MOST_USD_PER_MILLION * INT64_C(1000000))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = {(const char *)data, size};
	struct price_map m;
	struct fault why;

	if (price_map_read(text, &m, &why)) {
		for (size_t i = 0; i < m.count; i++) {
			const struct price_offer *o = &m.offers[i];

			must_be_price(o->input_pusd);
			must_be_price(o->input_cached_pusd);
			must_be_price(o->cache_write_pusd);
			must_be_price(o->output_pusd);
			must_be_price(o->request_pusd);
			if (price_map_find(&m, o->provider, o->model) == NULL)
				abort();
		}
	}
	price_map_release(&m);
	return 0;
}
