#include "words_chat.h"

#define CLOUD_PLAIN                                                       \
	"{'id':'$name-$id','object':'chat.completion','created':$created" \
	",'model':'$model','choices':[$choices]$final}"
#define CLOUD_CHOICE                                                       \
	"{'index':$choice,'message':{'role':'assistant','content':'$text'" \
	"$thoughts},'finish_reason':'$finish'}"
#define CLOUD_CHOICE_THOUGHTS ",'reasoning_content':'$thought'"
#define PLAIN_CHUNK                                                 \
	"data: {'id':'$name-$id','object':'chat.completion.chunk'," \
	"'created':$created,'model':'$model','choices':["
#define FIREWORKS_USAGE                                                  \
	USAGE_TOTAL_SECOND ",'prompt_tokens_details':{'cached_tokens':$" \
			   "cached}}"
#define FIREWORKS_ROLE                                                  \
	PLAIN_CHUNK                                                     \
	"{'index':$choice,'delta':{'role':'assistant'},'finish_reason'" \
	":null}]$now}\n\n"
#define FIREWORKS_TEXT                                                 \
	PLAIN_CHUNK                                                    \
	"{'index':$choice,'delta':{'content':'$word'},'finish_reason'" \
	":null}]$now}\n\n"
#define FIREWORKS_FINISH \
	PLAIN_CHUNK "{'index':$choice,'delta':{},'finish_reason':'$finish'}]"

const struct chat_words chat_fireworks = {
    .role = FIREWORKS_ROLE,
    .text = FIREWORKS_TEXT,
    .finish = FIREWORKS_FINISH "$final}\n\n",
    .end = DONE,
    .plain = CLOUD_PLAIN,
    .choice = CLOUD_CHOICE,
    .usage = FIREWORKS_USAGE,
    .bare = USAGE_NULL,
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .tells = TELLS_CACHED,
    .is_always = true,
};

const struct chat_words chat_fireworks_own = {
    .role = FIREWORKS_ROLE,
    .text = FIREWORKS_TEXT,
    .finish = FIREWORKS_FINISH "$now}\n\n",
    .own = PLAIN_CHUNK "]$final}\n\n",
    .end = DONE,
    .plain = CLOUD_PLAIN,
    .choice = CLOUD_CHOICE,
    .usage = FIREWORKS_USAGE,
    .bare = USAGE_NULL,
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .tells = TELLS_CACHED,
};

const struct chat_words completions_fireworks = {
    .text = DEFAULT_PIECE "{'text':'$word','index':$choice,'logprobs':null,"
			  "'finish_reason':null}],'usage':null}\n\n",
    .finish = DEFAULT_PIECE "{'text':'','index':$choice,'logprobs':null,"
			    "'finish_reason':'$finish'}]$final}\n\n",
    .end = DONE,
    .plain = "{'id':'cmpl-$name-$id','object':'text_completion','created':"
	     "$created,'model':'$model','choices':[$choices]$final}",
    .choice = "{'text':'$text','index':$choice,'logprobs':null,"
	      "'finish_reason':'$finish'}",
    .usage = FIREWORKS_USAGE,
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .tells = TELLS_CACHED,
    .is_always = true,
};

/* Counts reasoning beside completion_tokens. */
const struct chat_words chat_xai = {
    .role = PLAIN_CHUNK "{'index':$choice,'delta':{'role':'assistant'}}],"
			"'system_fingerprint':'fp_$name'}\n\n",
    .think = PLAIN_CHUNK "{'index':$choice,'delta':{'reasoning_content':"
			 "'$word'}}]$now,'system_fingerprint':'fp_$name'}\n\n",
    .text = PLAIN_CHUNK "{'index':$choice,'delta':{'content':'$word'}}]"
			"$now,'system_fingerprint':'fp_$name'}\n\n",
    .finish = PLAIN_CHUNK "{'index':$choice,'delta':{},'finish_reason':"
			  "'$finish'}]$now,'system_fingerprint':'fp_$name'"
			  "}\n\n",
    .own = PLAIN_CHUNK "]$final,'system_fingerprint':'fp_$name'}\n\n",
    .end = DONE,
    .plain = CLOUD_PLAIN,
    .choice = CLOUD_CHOICE,
    .thoughts = CLOUD_CHOICE_THOUGHTS,
    .usage = "{'prompt_tokens':$prompt,'completion_tokens':$visible,"
	     "'total_tokens':$total,'prompt_tokens_details':{'text_tokens':"
	     "$prompt,'audio_tokens':0,'image_tokens':0,'cached_tokens':"
	     "$cached},'completion_tokens_details':{'reasoning_tokens':"
	     "$reasoning,'audio_tokens':0},'num_sources_used':0,"
	     "'cost_in_usd_ticks':1721250}",
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .tells = ALL_COUNTS,
};

#define DEEPSEEK_CHUNK                                              \
	"data: {'id':'$name-$id','object':'chat.completion.chunk'," \
	"'created':$created,'model':'$model','system_fingerprint':" \
	"'fp_eaab8d114b_prod','choices':["

const struct chat_words chat_deepseek = {
    .lead = ": keep-alive\n\n: keep-alive\n\n",
    .role = DEEPSEEK_CHUNK
    "{'index':$choice,'delta':{'role':'assistant','content':null,"
    "'reasoning_content':''},'logprobs':null,'finish_reason':null}]"
    ",'usage':null}\n\n",
    .think = DEEPSEEK_CHUNK
    "{'index':$choice,'delta':{'content':null,'reasoning_content':"
    "'$word'},'logprobs':null,'finish_reason':null}]$now}\n\n",
    .text = DEEPSEEK_CHUNK
    "{'index':$choice,'delta':{'content':'$word','reasoning_content':"
    "null},'logprobs':null,'finish_reason':null}]$now}\n\n",
    .finish = DEEPSEEK_CHUNK
    "{'index':$choice,'delta':{'content':'','reasoning_content':null},"
    "'logprobs':null,'finish_reason':'$finish'}]$final}\n\n",
    .end = DONE,
    .comment = ": keep-alive\n\n",
    .plain = CLOUD_PLAIN,
    .choice = CLOUD_CHOICE,
    .thoughts = CLOUD_CHOICE_THOUGHTS,
    .usage = "{'prompt_tokens':$prompt,'completion_tokens':$completion,"
	     "'total_tokens':$total,'prompt_tokens_details':"
	     "{'cached_tokens':$cached},'completion_tokens_details':"
	     "{'reasoning_tokens':$reasoning},'prompt_cache_hit_tokens':"
	     "$cached,'prompt_cache_miss_tokens':$fresh}",
    .bare = USAGE_NULL,
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .tells = ALL_COUNTS,
    .is_always = true,
};

#define OPENROUTER_CHUNK                                                \
	"data: {'id':'gen-$name-$id','object':'chat.completion.chunk'," \
	"'created':$created,'model':'$model','provider':'Azure',"       \
	"'system_fingerprint':'fp_eb37e061ec','choices':["
#define OPENROUTER_FINISH                                             \
	OPENROUTER_CHUNK                                              \
	"{'index':$choice,'delta':{'content':'','role':'assistant'}," \
	"'finish_reason':'$finish','native_finish_reason':'$finish'}]"

const struct chat_words chat_openrouter = {
    .lead = ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n",
    .think = OPENROUTER_CHUNK
    "{'index':$choice,'delta':{'content':'','role':'assistant',"
    "'reasoning':'$word'},'finish_reason':null,"
    "'native_finish_reason':null}]$now}\n\n",
    .text = OPENROUTER_CHUNK
    "{'index':$choice,'delta':{'content':'$word','role':'assistant'},"
    "'finish_reason':null,'native_finish_reason':null}]$now}\n\n",
    .finish = OPENROUTER_FINISH "$now}\n\n",
    .again = OPENROUTER_FINISH "$final}\n\n",
    .end = DONE,
    .comment = ": OPENROUTER PROCESSING\n\n",
    .plain = CLOUD_PLAIN,
    .choice = CLOUD_CHOICE,
    .thoughts = ",'reasoning':'$thought'",
    .usage = "{'prompt_tokens':$prompt,'completion_tokens':$completion,"
	     "'total_tokens':$total,'cost':$cost,'is_byok':false,"
	     "'prompt_tokens_details':{'cached_tokens':$cached,"
	     "'cache_write_tokens':$written,'audio_tokens':0},"
	     "'cost_details':{'upstream_inference_cost':null},"
	     "'completion_tokens_details':{'reasoning_tokens':$reasoning,"
	     "'image_tokens':0,'audio_tokens':0}}",
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .tells = ALL_COUNTS | TELLS_WRITTEN,
    .is_always = true,
};

/* Keys in alphabetical order; the first chunk is about the prompt. */
#define AZURE_END                                                         \
	"],'created':$created,'id':'chatcmpl-$name$id','model':'$model'," \
	"'object':'chat.completion.chunk','system_fingerprint':'fp_$name'"

const struct chat_words chat_azure = {
    .lead = "data: {'choices':[],'created':0,'id':'','model':'','object':'',"
	    "'prompt_filter_results':[{'prompt_index':0,"
	    "'content_filter_results':{'hate':{'filtered':false}}}]}\n\n",
    .role = "data: {'choices':[{'content_filter_results':{},'delta':"
	    "{'content':'','refusal':null,'role':'assistant'},"
	    "'finish_reason':null,'index':$choice,'logprobs':null}" AZURE_END
	    "$now}\n\n",
    .text = "data: {'choices':[{'content_filter_results':{},'delta':"
	    "{'content':'$word'},'finish_reason':null,'index':$choice,"
	    "'logprobs':null}" AZURE_END "$now}\n\n",
    .finish =
	"data: {'choices':[{'content_filter_results':{},'delta':{},"
	"'finish_reason':'$finish','index':$choice,'logprobs':null}" AZURE_END
	"$now}\n\n",
    .own = "data: {'choices':[" AZURE_END "$final}\n\n",
    .end = DONE,
    .plain = CLOUD_PLAIN,
    .choice = CLOUD_CHOICE,
    .usage = "{'completion_tokens':$completion,'completion_tokens_details':"
	     "{'audio_tokens':0,'reasoning_tokens':$reasoning},"
	     "'prompt_tokens':$prompt,'prompt_tokens_details':"
	     "{'audio_tokens':0,'cached_tokens':$cached},'total_tokens':"
	     "$total}",
    .bare = "",
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .tells = ALL_COUNTS,
};

const struct chat_words chat_groq = {
    .role = PLAIN_CHUNK "{'index':$choice,'delta':{'role':'assistant',"
			"'content':''},'logprobs':null,'finish_reason':"
			"null}],'x_groq':{'id':'req_$id'}}\n\n",
    .text = FIREWORKS_TEXT,
    .finish = FIREWORKS_FINISH ",'x_groq':{'id':'req_$id'$final}}\n\n",
    .end = DONE,
    .plain = CLOUD_PLAIN,
    .choice = CLOUD_CHOICE,
    .usage = "{'queue_time':0.0312,'prompt_tokens':$prompt,'prompt_time':"
	     "0.0018,'completion_tokens':$completion,'completion_time':"
	     "0.0109,'total_tokens':$total,'total_time':0.0127}",
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .is_always = true,
};

const struct chat_words chat_mistral = {
    .role = PLAIN_CHUNK "{'index':$choice,'delta':{'role':'assistant',"
			"'content':''},'finish_reason':null}]}\n\n",
    .text = FIREWORKS_TEXT,
    .finish = FIREWORKS_FINISH "$final}\n\n",
    .end = DONE,
    .plain = CLOUD_PLAIN,
    .choice = CLOUD_CHOICE,
    .usage = USAGE_TOTAL_SECOND "}",
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .is_always = true,
};

/* Says every word twice. */
#define TOGETHER(word, finish, usage)                                       \
	"data: {'id':'$name-$id','object':'chat.completion.chunk',"         \
	"'created':$created,'choices':[{'index':$choice,'text':'" word      \
	"','logprobs':null,'finish_reason':" finish                         \
	",'seed':null,'delta':{'token_id':42,'role':'assistant','content':" \
	"'" word "','tool_calls':null}}],'model':'$model'" usage "}\n\n"

const struct chat_words chat_together = {
    .role = TOGETHER("", "null", ",'usage':null"),
    .text = "data: {'id':'$name-$id','object':'chat.completion.chunk',"
	    "'created':$created,'choices':[{'index':$choice,'text':'x',"
	    "'logprobs':null,'finish_reason':null,'seed':null,'delta':"
	    "{'token_id':42,'role':'assistant','content':'$word',"
	    "'tool_calls':null}}],'model':'$model'$now}\n\n",
    .finish = TOGETHER("", "'$finish'", "$final"),
    .end = DONE,
    .plain = CLOUD_PLAIN,
    .choice = CLOUD_CHOICE,
    .usage = USAGE_PLAIN,
    .bare = USAGE_NULL,
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .is_always = true,
};
