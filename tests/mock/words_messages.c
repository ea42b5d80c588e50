#include "words.h"

#define DELTA(at, kind, member, value)                                \
	"event: content_block_delta\ndata: {'type':"                  \
	"'content_block_delta','index':" at ",'delta':{'type':'" kind \
	"','" member "':'" value "'}"
#define BLOCK(at, block)                             \
	"event: content_block_start\ndata: {'type':" \
	"'content_block_start','index':" at ",'content_block':" block
#define BLOCK_STOP(at)                              \
	"event: content_block_stop\ndata: {'type':" \
	"'content_block_stop','index':" at
#define TEXT_BLOCK "{'type':'text','text':''}"
#define THOUGHT_BLOCK "{'type':'thinking','thinking':'','signature':''}"
#define PING "event: ping\ndata: {'type': 'ping'}\n\n"
#define STOP "event: message_stop\ndata: {'type':'message_stop'}\n\n"
#define MESSAGE_DELTA(more)                                           \
	"event: message_delta\ndata: {'type':'message_delta','delta'" \
	":{'stop_reason':'$stop','stop_sequence':null" more "}"

/* The input, as this API divides it: what the caches had stands apart. */
#define INPUT                                                  \
	"'input_tokens':$fresh,'cache_creation_input_tokens':" \
	"$written,'cache_read_input_tokens':$cached"
#define FIRST_USAGE                                              \
	",'usage':{" INPUT ",'cache_creation':"                  \
	"{'ephemeral_5m_input_tokens':$written,"                 \
	"'ephemeral_1h_input_tokens':0},'output_tokens':$first," \
	"'service_tier':'standard','inference_geo':'not_available'}"
#define LAST_USAGE                                               \
	",'usage':{'input_tokens':$lastfresh,"                   \
	"'cache_creation_input_tokens':$lastwritten,"            \
	"'cache_read_input_tokens':$lastcached,'output_tokens':" \
	"$lastcompletion$iterations$thinkingtokens}"
#define WHOLE_USAGE                                                      \
	",'usage':{'input_tokens':$lastfresh,"                           \
	"'cache_creation_input_tokens':$lastwritten,"                    \
	"'cache_read_input_tokens':$lastcached,'cache_creation':"        \
	"{'ephemeral_5m_input_tokens':$lastwritten,"                     \
	"'ephemeral_1h_input_tokens':0},'output_tokens':$lastcompletion" \
	"$iterations$thinkingtokens,'service_tier':'standard',"          \
	"'inference_geo':'not_available'}"
#define EVERY_COUNT (TELLS_CACHED | TELLS_WRITTEN | TELLS_REASONING)

#define MESSAGE_TEXT "{'type':'text','text':'$text'}"
#define MESSAGE_THOUGHTS \
	"{'type':'thinking','thinking':'$thought','signature':'bW9jaw=='},"

const struct messages_words messages_default = {
    .open = "event: message_start\ndata: {'type':'message_start','message':"
	    "{'model':'$model','id':'msg_$name_$id','type':'message','role':"
	    "'assistant','content':[],'stop_reason':null,'stop_sequence':"
	    "null,'stop_details':null$firstusage}}\n\n$begin\n" PING,
    .begin = BLOCK("$at", TEXT_BLOCK) "}\n",
    .begin_thought = BLOCK("$at", THOUGHT_BLOCK) "}\n",
    .think = DELTA("0", "thinking_delta", "thinking", "$word") "}\n\n",
    .middle = DELTA("0", "signature_delta", "signature",
	"bW9jaw==") "}\n\n" BLOCK_STOP("0") "}\n\n" BLOCK("1",
	TEXT_BLOCK) "}\n\n",
    .text = DELTA("$at", "text_delta", "text", "$word") "}\n\n",
    .close = BLOCK_STOP("$at") "}\n\n" MESSAGE_DELTA(
	",'stop_details':null") "$lastusage}\n\n",
    .end = STOP,
    .plain = "{'model':'$model','id':'msg_$name_$id','type':'message',"
	     "'role':'assistant','content':[$thoughts" MESSAGE_TEXT
	     "],'stop_reason':'$stop','stop_sequence':null$wholeusage}",
    .thoughts = MESSAGE_THOUGHTS,
    .first_usage = FIRST_USAGE,
    .opens_with_count = true,
    .last_usage = LAST_USAGE,
    .whole_usage = WHOLE_USAGE,
    .tells = EVERY_COUNT,
};

/* Pads its events with spaces, each by another number. */
const struct messages_words messages_anthropic = {
    .open = "event: message_start\ndata: {'type':'message_start','message':"
	    "{'model':'$model','id':'msg_$name_$id','type':'message','role':"
	    "'assistant','content':[],'stop_reason':null,'stop_sequence':"
	    "null,'stop_details':null$firstusage}      }\n\n$begin\n" PING,
    .begin = BLOCK("$at", TEXT_BLOCK) "             }\n",
    .begin_thought = BLOCK("$at", THOUGHT_BLOCK) "   }\n",
    .think = DELTA("0", "thinking_delta", "thinking", "$word") "    }\n\n",
    .middle = DELTA("0", "signature_delta", "signature",
	"bW9jaw==") "  }\n\n" BLOCK_STOP("0") "    }\n\n" BLOCK("1",
	TEXT_BLOCK) " }\n\n",
    .text = DELTA("$at", "text_delta", "text", "$word") "        }\n\n",
    .close = BLOCK_STOP("$at") "    }\n\n" MESSAGE_DELTA(
	",'stop_details':null") "$lastusage       }\n\n",
    .end = "event: message_stop\ndata: {'type':'message_stop'       }\n\n",
    .plain = "{'model':'$model','id':'msg_$name_$id','type':'message',"
	     "'role':'assistant','content':[$thoughts" MESSAGE_TEXT
	     "],'stop_reason':'$stop','stop_sequence':null$wholeusage}",
    .thoughts = MESSAGE_THOUGHTS,
    .first_usage = FIRST_USAGE,
    .opens_with_count = true,
    .last_usage = LAST_USAGE,
    .whole_usage = WHOLE_USAGE,
    .tells = EVERY_COUNT,
};

/* The first usage has the whole prompt, the last one what no cache had. */
const struct messages_words messages_vllm = {
    .open = "event: message_start\ndata: {'type':'message_start','message':"
	    "{'id':'chatcmpl-$name$id','type':'message','role':'assistant',"
	    "'content':[],'model':'$model','stop_reason':null,"
	    "'stop_sequence':null$firstusage}}\n\n$begin\n",
    .begin = BLOCK("$at", TEXT_BLOCK) "}\n",
    .begin_thought = BLOCK("$at", THOUGHT_BLOCK) "}\n",
    .think = DELTA("0", "thinking_delta", "thinking", "$word") "}\n\n",
    .middle = BLOCK_STOP("0") "}\n\n" BLOCK("1", TEXT_BLOCK) "}\n\n",
    .text = DELTA("$at", "text_delta", "text", "$word") "}\n\n",
    .close = BLOCK_STOP(
	"$at") "}\n\n"
	       "event: message_delta\ndata: {'type':'message_delta','delta':"
	       "{'stop_reason':'$stop'}$lastusage}\n\n",
    .end = STOP,
    .plain = "{'id':'chatcmpl-$name$id','type':'message','role':"
	     "'assistant','content':[$thoughts" MESSAGE_TEXT
	     "],'model':'$model','stop_reason':'$stop'$wholeusage}",
    .thoughts = MESSAGE_THOUGHTS,
    .first_usage = ",'usage':{'input_tokens':$prompt,'output_tokens':0}",
    .last_usage = ",'usage':{'input_tokens':$fresh,'output_tokens':"
		  "$completion,'cache_read_input_tokens':$cached}",
    .whole_usage = ",'usage':{'input_tokens':$fresh,'output_tokens':"
		   "$completion,'cache_read_input_tokens':$cached}",
    .tells = TELLS_CACHED,
};

#define LLAMACPP_OPEN                                                      \
	"event: message_start\ndata: {'type':'message_start','message':{'" \
	"id':'chatcmpl-$name$id','type':'message','role':'assistant',"     \
	"'content':[],'model':'$model','stop_reason':null,"                \
	"'stop_sequence':null$firstusage}}\n\n$begin\n"
#define LLAMACPP_PLAIN                                                    \
	"{'id':'chatcmpl-$name$id','type':'message','role':'assistant','" \
	"content':[$thoughts" MESSAGE_TEXT                                \
	"],'model':'$model','stop_reason':'$stop','stop_sequence':null"   \
	"$wholeusage}"

/* The output stands in the last usage, the input in the first alone. */
const struct messages_words messages_llamacpp = {
    .open = LLAMACPP_OPEN,
    .begin = BLOCK("$at", TEXT_BLOCK) "}\n",
    .begin_thought = BLOCK("$at", "{'type':'thinking','thinking':''}") "}\n",
    .think = DELTA("0", "thinking_delta", "thinking", "$word") "}\n\n",
    .middle = BLOCK("1", TEXT_BLOCK) "}\n\n",
    .text = DELTA("$at", "text_delta", "text", "$word") "}\n\n",
    .close = BLOCK_STOP("$at") "}\n\n" MESSAGE_DELTA("") "$lastusage}\n\n",
    .end = STOP,
    .plain = LLAMACPP_PLAIN,
    .thoughts = MESSAGE_THOUGHTS,
    .first_usage = ",'usage':{'cache_read_input_tokens':$cached,"
		   "'input_tokens':$fresh,'output_tokens':0}",
    .last_usage = ",'usage':{'output_tokens':$completion}",
    .whole_usage = ",'usage':{'cache_read_input_tokens':$cached,"
		   "'input_tokens':$fresh,'output_tokens':$completion}",
    .tells = TELLS_CACHED,
};

const struct messages_words messages_mlx_vlm = {
    .open = LLAMACPP_OPEN,
    .begin = BLOCK("$at", TEXT_BLOCK) "}\n",
    .begin_thought = BLOCK("$at", THOUGHT_BLOCK) "}\n",
    .think = DELTA("0", "thinking_delta", "thinking", "$word") "}\n\n",
    .middle = BLOCK_STOP("0") "}\n\n" BLOCK("1", TEXT_BLOCK) "}\n\n",
    .text = DELTA("$at", "text_delta", "text", "$word") "}\n\n",
    .close = BLOCK_STOP("$at") "}\n\n" MESSAGE_DELTA("") "$lastusage}\n\n",
    .end = STOP,
    .plain = LLAMACPP_PLAIN,
    .thoughts = MESSAGE_THOUGHTS,
    .first_usage = ",'usage':{'input_tokens':$prompt,'output_tokens':0}",
    .last_usage = ",'usage':{'output_tokens':$completion}",
    .whole_usage = ",'usage':{'input_tokens':$prompt,'output_tokens':"
		   "$completion}",
};

/* Guesses the input at first, and knows it at last. */
const struct messages_words messages_ollama = {
    .open = "event: message_start\ndata: {'type':'message_start','message':"
	    "{'id':'msg_$name$id','type':'message','role':'assistant',"
	    "'model':'$model','content':[]$firstusage}}\n\n$begin\n",
    .begin = BLOCK("$at", TEXT_BLOCK) "}\n",
    .begin_thought = BLOCK("$at", "{'type':'thinking','thinking':''}") "}\n",
    .think = DELTA("0", "thinking_delta", "thinking", "$word") "}\n\n",
    .middle = BLOCK_STOP("0") "}\n\n" BLOCK("1", TEXT_BLOCK) "}\n\n",
    .text = DELTA("$at", "text_delta", "text", "$word") "}\n\n",
    .close = BLOCK_STOP(
	"$at") "}\n\n"
	       "event: message_delta\ndata: {'type':'message_delta','delta':"
	       "{'stop_reason':'$stop'}$lastusage}\n\n",
    .end = STOP,
    .plain = "{'id':'msg_$name$id','type':'message','role':'assistant',"
	     "'model':'$model','content':[$thoughts" MESSAGE_TEXT
	     "],'stop_reason':'$stop'$wholeusage}",
    .thoughts = MESSAGE_THOUGHTS,
    .first_usage = ",'usage':{'input_tokens':$guess,'output_tokens':0}",
    .last_usage =
	",'usage':{'input_tokens':$prompt,'output_tokens':$completion}",
    .whole_usage =
	",'usage':{'input_tokens':$prompt,'output_tokens':$completion}",
};

/* Anthropic's, with OpenAI's end mark behind it. */
const struct messages_words messages_openrouter = {
    .open = LLAMACPP_OPEN PING,
    .begin = BLOCK("$at", TEXT_BLOCK) "}\n",
    .begin_thought = BLOCK("$at", THOUGHT_BLOCK) "}\n",
    .think = DELTA("0", "thinking_delta", "thinking", "$word") "}\n\n",
    .middle = BLOCK_STOP("0") "}\n\n" BLOCK("1", TEXT_BLOCK) "}\n\n",
    .text = DELTA("$at", "text_delta", "text", "$word") "}\n\n",
    .close = BLOCK_STOP("$at") "}\n\n" MESSAGE_DELTA("") "$lastusage}\n\n",
    .end = STOP "event: data\ndata: [DONE]\n\n",
    .plain = LLAMACPP_PLAIN,
    .thoughts = MESSAGE_THOUGHTS,
    .first_usage = FIRST_USAGE,
    .opens_with_count = true,
    .last_usage = LAST_USAGE,
    .whole_usage = WHOLE_USAGE,
    .tells = EVERY_COUNT,
};
