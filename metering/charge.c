#include "metering/charge.h"

#include "base/banned.h"

enum usage_source
charge_usage(const struct charge_facts *f, struct usage *out)
{
	bool is_over = f->source != USAGE_RUNNING;

	*out = f->source == USAGE_NONE ? USAGE_UNKNOWN : f->seen;
	if (out->input >= 0 && out->output >= 0 &&
	    (is_over || f->rest_estimate == 0))
		return f->source;
	if (!f->may_have_worked && !usage_is_known(out))
		return USAGE_NONE;
	if (out->input < 0)
		out->input = f->input_estimate;
	if (out->output < 0)
		out->output = f->rest_estimate;
	else if (!is_over)
		out->output += f->rest_estimate;
	return USAGE_ESTIMATED;
}
