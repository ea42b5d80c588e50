#include "cli/live.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cli/admin_client.h"
#include "cli/locate.h"
#include "metering/price.h"

#include "base/banned.h"

struct live {
	json_t *document; /* owned */
	json_t *accounts; /* borrowed from it */
};

struct live *
live_parse(struct slice json)
{
	struct live *l = xcalloc(sizeof *l);

	l->document = json_loadb(json.p, json.len, 0, NULL);
	l->accounts = json_object_get(l->document, "accounts");
	if (!json_is_array(l->accounts))
		live_destroy(&l);
	return l;
}

struct live *
live_read(const struct config *c)
{
	const char *path = admin_socket_given(NULL);
	struct live *l = NULL;
	struct buf body = {0};
	struct fault why;

	if (path == NULL)
		path = admin_socket_of(c);
	if (admin_get(path, "/admin/v1/gate", &body, &why) == EXIT_OK)
		l = live_parse((struct slice){buf_data(&body), buf_len(&body)});
	buf_release(&body);
	return l;
}

void
live_destroy(struct live **lp)
{
	if (*lp == NULL)
		return;
	json_decref((*lp)->document);
	free(*lp);
	*lp = NULL;
}

static bool
is_text(json_t *object, const char *member, const char *wanted)
{
	const char *text = json_string_value(json_object_get(object, member));

	if (text == NULL || wanted == NULL)
		return text == wanted;
	return strcmp(text, wanted) == 0;
}

static void
read_rates(json_t *account, struct live_account *out)
{
	json_t *rates = json_object_get(account, "rates");

	for (unsigned i = 0; i < LIMIT_COUNT; i++) {
		json_t *rate =
		    json_object_get(rates, limit_name((enum limit)i));

		out->rate_used[i] = -1;
		if (json_is_object(rate))
			out->rate_used[i] =
			    json_integer_value(json_object_get(rate, "limit")) -
			    json_integer_value(
				json_object_get(rate, "remaining"));
	}
}

static void
read_fallback(json_t *account, struct live_account *out)
{
	json_t *money = json_object_get(account, "money"), *period;
	size_t i;

	json_array_foreach(money, i, period)
	{
		const char *used = json_string_value(json_object_get(
		    json_object_get(period, "cloud_fallback"), "used_usd"));

		for (unsigned p = 0; p < PERIOD_COUNT; p++)
			if (is_text(
				period, "per", period_name((enum period)p)) &&
			    !money_parse(slice_of(used), &out->fallback[p]))
				out->fallback[p] = 0;
	}
}

bool
live_find(const struct live *l, const char *user, const char *model,
    struct live_account *out)
{
	const char *subject = model == NULL ? "user" : "user_at_model";
	json_t *account;
	size_t i;

	*out = (struct live_account){0};
	if (l == NULL)
		return false;
	json_array_foreach(l->accounts, i, account)
	{
		if (!is_text(account, "subject", subject) ||
		    !is_text(account, "user", user) ||
		    !is_text(account, "model", model))
			continue;
		out->in_flight =
		    json_integer_value(json_object_get(account, "in_flight"));
		read_rates(account, out);
		read_fallback(account, out);
		return true;
	}
	return false;
}
