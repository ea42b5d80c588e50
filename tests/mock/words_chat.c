#include "words_chat.h"

/* --- what a test gets that names no kind --------------------------------- */

#define DEFAULT_CHUNK                                                  \
	"data: {'id':'chatcmpl-$name-$id','object':"                   \
	"'chat.completion.chunk','created':$created,'model':'$model'," \
	"'system_fingerprint':'$name','choices':["

const struct chat_words chat_default = {
    .role = DEFAULT_CHUNK
    "{'index':$choice,'delta':{'role':'assistant','content':''},"
    "'logprobs':null,'finish_reason':null}]$now}\n\n",
    .think =
	DEFAULT_CHUNK "{'index':$choice,'delta':{'reasoning_content':'$word'},"
		      "'logprobs':null,'finish_reason':null}]$now}\n\n",
    .text = DEFAULT_CHUNK
    "{'index':$choice,'delta':{'content':'$word'},'logprobs':null,"
    "'finish_reason':null}]$now}\n\n",
    .finish = DEFAULT_CHUNK "{'index':$choice,'delta':{},'logprobs':null,"
			    "'finish_reason':'$finish'}]$now}\n\n",
    .own = DEFAULT_CHUNK "]$final}\n\n",
    .end = DONE,
    .plain = "{'id':'chatcmpl-$name-$id','object':'chat.completion','created':"
	     "$created,'model':'$model','choices':[$choices]$final,"
	     "'service_tier':'default','system_fingerprint':'$name'}",
    .choice = "{'index':$choice,'message':{'role':'assistant','content':"
	      "'$text','refusal':null,'annotations':[]$thoughts},"
	      "'logprobs':null,'finish_reason':'$finish'}",
    .thoughts = ",'reasoning_content':'$thought'",
    .usage = USAGE_FULL,
    .bare = "",
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .tells = ALL_COUNTS,
};

const struct chat_words completions_default = {
    .text = DEFAULT_PIECE "{'text':'$word','index':$choice,'logprobs':null,"
			  "'finish_reason':null}]$now}\n\n",
    .finish = DEFAULT_PIECE "{'text':'','index':$choice,'logprobs':null,"
			    "'finish_reason':'$finish'}]$now}\n\n",
    .own = DEFAULT_PIECE "]$final}\n\n",
    .end = DONE,
    .plain = "{'id':'cmpl-$name-$id','object':'text_completion','created':"
	     "$created,'model':'$model','choices':[$choices]$final}",
    .choice = "{'text':'$text','index':$choice,'logprobs':null,"
	      "'finish_reason':'$finish'}",
    .usage = USAGE_FULL,
    .bare = "",
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .tells = ALL_COUNTS,
};

/* --- OpenAI itself ------------------------------------------------------- */

#define CLOUD_CHUNK                                                    \
	"data: {'id':'chatcmpl-$name$id','object':"                    \
	"'chat.completion.chunk','created':$created,'model':'$model'," \
	"'service_tier':'default','system_fingerprint':'fp_$name',"    \
	"'choices':["

const struct chat_words chat_cloud = {
    .role = CLOUD_CHUNK
    "{'index':$choice,'delta':{'role':'assistant','content':'',"
    "'refusal':null},'logprobs':null,'finish_reason':null}]$now,"
    "'obfuscation':'aB3dE'}\n\n",
    .text = CLOUD_CHUNK
    "{'index':$choice,'delta':{'content':'$word'},'logprobs':null,"
    "'finish_reason':null}]$now,'obfuscation':'k9'}\n\n",
    .finish = CLOUD_CHUNK "{'index':$choice,'delta':{},'logprobs':null,"
			  "'finish_reason':'$finish'}]$now,'obfuscation':"
			  "'p0'}\n\n",
    .own = CLOUD_CHUNK "]$final,'obfuscation':'h9RiQ'}\n\n",
    .end = DONE,
    .plain = "{\n  'id': 'chatcmpl-$name$id',\n  'object': "
	     "'chat.completion',\n  'created': $created,\n  'model': "
	     "'$model',\n  'choices': [$choices]$final,\n  "
	     "'service_tier': 'default'\n}\n",
    .choice = "{\n      'index': $choice,\n      'message': {'role': "
	      "'assistant', 'content': '$text', 'refusal': null},\n"
	      "      'finish_reason': '$finish'\n    }",
    .usage = USAGE_FULL,
    .bare = "",
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .tells = ALL_COUNTS,
};

const struct chat_words completions_cloud = {
    .text = "data: {'id':'cmpl-$name$id','object':'text_completion',"
	    "'created':$created,'choices':[{'text':'$word','index':$choice,"
	    "'logprobs':null,'finish_reason':null}],'model':'$model'$now}\n\n",
    .finish = "data: {'id':'cmpl-$name$id','object':'text_completion',"
	      "'created':$created,'choices':[{'text':'','index':$choice,"
	      "'logprobs':null,'finish_reason':'$finish'}],'model':'$model'"
	      "$now}\n\n",
    .own = "data: {'id':'cmpl-$name$id','object':'text_completion',"
	   "'created':$created,'model':'$model'$final,'choices':[]}\n\n",
    .end = DONE,
    .plain = "{'id':'cmpl-$name$id','object':'text_completion','created':"
	     "$created,'model':'$model','choices':[$choices]$final}",
    .choice = "{'text':'$text','index':$choice,'logprobs':null,"
	      "'finish_reason':'$finish'}",
    .usage = USAGE_PLAIN,
    .bare = "",
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
};

/* --- vLLM ---------------------------------------------------------------- */

#define VLLM_CHUNK                                                     \
	"data: {'id':'chatcmpl-$name$id','object':"                    \
	"'chat.completion.chunk','created':$created,'model':'$model'," \
	"'choices':["
#define VLLM_PIECE                                                \
	"data: {'id':'cmpl-$name$id','object':'text_completion'," \
	"'created':$created,'model':'$model','choices':["
#define VLLM_RUNNING                                                 \
	",'usage':{'prompt_tokens':$prompt,'total_tokens':$sototal," \
	"'completion_tokens':$sofar,'completion_tokens_details':null}"

const struct chat_words chat_vllm = {
    .role =
	VLLM_CHUNK "{'index':$choice,'delta':{'role':'assistant','content':''},"
		   "'logprobs':null,'finish_reason':null}]$now,"
		   "'prompt_token_ids':null,'prompt_text':null}\n\n",
    .think = VLLM_CHUNK
    "{'index':$choice,'delta':{'reasoning':'$word'},'logprobs':null,"
    "'finish_reason':null,'token_ids':null}]$now}\n\n",
    .text = VLLM_CHUNK
    "{'index':$choice,'delta':{'content':'$word'},'logprobs':null,"
    "'finish_reason':null,'token_ids':null}]$now}\n\n",
    .finish = VLLM_CHUNK
    "{'index':$choice,'delta':{'content':''},'logprobs':null,"
    "'finish_reason':'$finish','stop_reason':null,'token_ids':null}]"
    "$now}\n\n",
    .own = VLLM_CHUNK "]$final,'system_fingerprint':'vllm-0.29.0-tp1'}\n\n",
    .end = DONE,
    .plain = "{'id':'chatcmpl-$name$id','object':'chat.completion',"
	     "'created':$created,'model':'$model','choices':[$choices],"
	     "'service_tier':null,'system_fingerprint':'vllm-0.29.0-tp1'"
	     "$final,'prompt_logprobs':null,'prompt_token_ids':null,"
	     "'kv_transfer_params':null,'metrics':null}",
    .choice = "{'index':$choice,'message':{'role':'assistant','content':"
	      "'$text','refusal':null,'annotations':null,'audio':null,"
	      "'function_call':null,'reasoning':$thinking},'logprobs':null,"
	      "'finish_reason':'$finish','stop_reason':null,"
	      "'token_ids':null}",
    .usage = USAGE_TOTAL_SECOND
    ",'prompt_tokens_details':{'cached_tokens':$cached},"
    "'completion_tokens_details':{'reasoning_tokens':$reasoning}}",
    .bare = "",
    .asked = "",
    .running = VLLM_RUNNING,
    .tells = ALL_COUNTS,
};

const struct chat_words completions_vllm = {
    .text = VLLM_PIECE "{'index':$choice,'text':'$word','logprobs':null,"
		       "'finish_reason':null,'stop_reason':null,"
		       "'token_ids':null}]$now}\n\n",
    .finish = VLLM_PIECE "{'index':$choice,'text':'','logprobs':null,"
			 "'finish_reason':'$finish','stop_reason':null,"
			 "'token_ids':null}]$now}\n\n",
    .own = VLLM_PIECE "]$final,'system_fingerprint':'vllm-0.29.0-tp1'}\n\n",
    .end = DONE,
    .plain = "{'id':'cmpl-$name$id','object':'text_completion','created':"
	     "$created,'model':'$model','choices':[$choices],"
	     "'service_tier':null,'system_fingerprint':'vllm-0.29.0-tp1'"
	     "$final,'kv_transfer_params':null}",
    .choice = "{'index':$choice,'text':'$text','logprobs':null,"
	      "'finish_reason':'$finish','stop_reason':null}",
    .usage = USAGE_TOTAL_SECOND ",'prompt_tokens_details':null}",
    .bare = "",
    .asked = "",
    .running = VLLM_RUNNING,
};

/* --- SGLang -------------------------------------------------------------- */

#define SGLANG_DELTA(content, reasoning)                           \
	"{'index':$choice,'delta':{'role':null,'content':" content \
	",'reasoning_content':" reasoning ",'tool_calls':null},'"  \
	"logprobs':null,'finish_reason':null,'matched_stop':null}]$now}\n\n"

const struct chat_words chat_sglang = {
    .role = VLLM_CHUNK
    "{'index':$choice,'delta':{'role':'assistant','content':'',"
    "'reasoning_content':null,'tool_calls':null},'logprobs':null,"
    "'finish_reason':null,'matched_stop':null}]$now}\n\n",
    .think = VLLM_CHUNK SGLANG_DELTA("null", "'$word'"),
    .text = VLLM_CHUNK SGLANG_DELTA("'$word'", "null"),
    .finish = VLLM_CHUNK
    "{'index':$choice,'delta':{'role':null,'content':null,"
    "'reasoning_content':null,'tool_calls':null},'logprobs':null,"
    "'finish_reason':'$finish','matched_stop':151645}]$now}\n\n",
    .own = VLLM_CHUNK "]$final}\n\n",
    .end = DONE,
    .plain = "{'id':'$name$id','object':'chat.completion','created':"
	     "$created,'model':'$model','choices':[$choices]$final,"
	     "'metadata':{'weight_version':'default'}}",
    .choice = "{'index':$choice,'message':{'role':'assistant','content':"
	      "'$text','reasoning_content':$thinking,'tool_calls':null},"
	      "'logprobs':null,'finish_reason':'$finish','matched_stop':"
	      "151645}",
    .usage = "{'prompt_tokens':$prompt,'total_tokens':$total,"
	     "'completion_tokens':$completion,'prompt_tokens_details':"
	     "{'cached_tokens':$cached},'reasoning_tokens':$reasoning}",
    .bare = USAGE_NULL,
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .tells = ALL_COUNTS,
};

const struct chat_words completions_sglang = {
    .text = VLLM_PIECE "{'index':$choice,'text':'$word','logprobs':null,"
		       "'finish_reason':null,'matched_stop':null}]$now}\n\n",
    .finish = VLLM_PIECE "{'index':$choice,'text':'','logprobs':null,"
			 "'finish_reason':'$finish','matched_stop':null}]"
			 "$now}\n\n",
    .own = VLLM_PIECE "]$final}\n\n",
    .end = DONE,
    .plain = "{'id':'$name$id','object':'text_completion','created':"
	     "$created,'model':'$model','choices':[$choices]$final}",
    .choice = "{'index':$choice,'text':'$text','logprobs':null,"
	      "'finish_reason':'$finish','matched_stop':null}",
    .usage = USAGE_TOTAL_SECOND ",'prompt_tokens_details':null}",
    .bare = USAGE_NULL,
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
};

/* --- llama.cpp ----------------------------------------------------------- */

#define LLAMACPP_END(object)                                             \
	"],'created':$created,'id':'chatcmpl-$name$id','model':'$model'" \
	",'system_fingerprint':'b9478-0a1b2c3d4','object':'" object "'"
#define LLAMACPP_CHUNK LLAMACPP_END("chat.completion.chunk")
#define LLAMACPP_PIECE                                                \
	"],'created':$created,'model':'$model','system_fingerprint':" \
	"'b9478-0a1b2c3d4','object':'text_completion'"
#define LLAMACPP_TIMINGS                                              \
	",'timings':{'cache_n':$cached,'prompt_n':$fresh,'prompt_ms'" \
	":41.5,'prompt_per_token_ms':6.916666666666667,"              \
	"'prompt_per_second':144.57831325301206,'predicted_n':"       \
	"$completion,'predicted_ms':80.25,'predicted_per_second':"    \
	"49.84423676012461}"
#define LLAMACPP_USAGE                                                    \
	"{'completion_tokens':$completion,'prompt_tokens':$prompt,'"      \
	"total_tokens':$total,'prompt_tokens_details':{'cached_tokens':$" \
	"cached}}"

const struct chat_words chat_llamacpp = {
    .lead = ":\n\n:\n\n",
    .role =
	"data: {'choices':[{'finish_reason':null,'index':$choice,"
	"'delta':{'role':'assistant','content':null}}" LLAMACPP_CHUNK "}\n\n",
    .think =
	"data: {'choices':[{'finish_reason':null,'index':$choice,"
	"'delta':{'reasoning_content':'$word'}}" LLAMACPP_CHUNK "$now}\n\n",
    .text = "data: {'choices':[{'finish_reason':null,'index':$choice,"
	    "'delta':{'content':'$word'}}" LLAMACPP_CHUNK "$now}\n\n",
    .finish = "data: {'choices':[{'finish_reason':'$finish','index':"
	      "$choice,'delta':{}}" LLAMACPP_CHUNK "$now$timings}\n\n",
    .own =
	"data: {'choices':[" LLAMACPP_CHUNK "$final" LLAMACPP_TIMINGS "}\n\n",
    .end = DONE,
    .comment = ":\n\n",
    .plain =
	"{'choices':[$choices],'created':$created,'model':'$model',"
	"'system_fingerprint':'b9478-0a1b2c3d4','object':"
	"'chat.completion'$final,'id':'chatcmpl-$name$id'" LLAMACPP_TIMINGS "}",
    .choice = "{'finish_reason':'$finish','index':$choice,'message':"
	      "{'role':'assistant','content':'$text'$thoughts}}",
    .thoughts = ",'reasoning_content':'$thought'",
    .usage = LLAMACPP_USAGE,
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .timings = LLAMACPP_TIMINGS,
    .tells = TELLS_CACHED,
};

const struct chat_words completions_llamacpp = {
    .text = "data: {'choices':[{'text':'$word','index':$choice,'logprobs':"
	    "null,'finish_reason':null}" LLAMACPP_PIECE
	    "$now,'id':'chatcmpl-$name$id'}\n\n",
    .finish = "data: {'choices':[{'text':'','index':$choice,'logprobs':"
	      "null,'finish_reason':'$finish'}" LLAMACPP_PIECE
	      "$final,'id':'chatcmpl-$name$id'" LLAMACPP_TIMINGS "}\n\n",
    .end = DONE,
    .comment = ":\n\n",
    .plain = "{'choices':[$choices" LLAMACPP_PIECE
	     "$final,'id':'chatcmpl-$name$id'" LLAMACPP_TIMINGS "}",
    .choice = "{'text':'$text','index':$choice,'logprobs':null,"
	      "'finish_reason':'$finish'}",
    .usage = LLAMACPP_USAGE,
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .timings = LLAMACPP_TIMINGS,
    .tells = TELLS_CACHED,
    .is_always = true,
};

/* --- mlx_lm: Python's separators ------------------------------------------ */

#define MLX_CHUNK(object, finish)                                         \
	"data: {'id': 'chatcmpl-$name$id', 'system_fingerprint': "        \
	"'0.31.0-0.31.1-macOS-26.0-arm64', 'object': '" object            \
	"', 'model': '$model', 'created': $created, 'choices': [{'index'" \
	": $choice, 'finish_reason': " finish ", "
#define MLX_DELTA MLX_CHUNK("chat.completion.chunk", "null")
#define MLX_OWN(object)                                            \
	"data: {'id': 'chatcmpl-$name$id', 'system_fingerprint': " \
	"'0.31.0-0.31.1-macOS-26.0-arm64', 'object': '" object     \
	"', 'model': '$model', 'created': $created, 'choices': []" \
	"$final}\n\n"
#define MLX_PLAIN(object)                                        \
	"{'id': 'chatcmpl-$name$id', 'system_fingerprint': "     \
	"'0.31.0-0.31.1-macOS-26.0-arm64', 'object': '" object   \
	"', 'model': '$model', 'created': $created, 'choices': " \
	"[$choices]$final}"
#define MLX_USAGE                                                      \
	"{'prompt_tokens': $prompt, 'completion_tokens': "             \
	"$completion, 'total_tokens': $total, 'prompt_tokens_details'" \
	": {'cached_tokens': $cached}}"

const struct chat_words chat_mlx_lm = {
    .lead = "$progress",
    .think = MLX_DELTA
    "'delta': {'role': 'assistant', 'reasoning': '$word'}}]$now}\n\n",
    .text = MLX_DELTA
    "'delta': {'role': 'assistant', 'content': '$word'}}]$now}\n\n",
    .finish = MLX_CHUNK("chat.completion.chunk",
	"'$finish'") "'delta': {'role': 'assistant'}}]$now}\n\n",
    .own = MLX_OWN("chat.completion"),
    .end = DONE,
    .plain = MLX_PLAIN("chat.completion"),
    .choice = "{'index': $choice, 'finish_reason': '$finish', 'message': "
	      "{'role': 'assistant', 'content': '$text'$thoughts}}",
    .thoughts = ", 'reasoning': '$thought'",
    .usage = MLX_USAGE,
    .member = ", 'usage': ",
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .tells = TELLS_CACHED,
};

const struct chat_words completions_mlx_lm = {
    .lead = "$progress",
    .text = MLX_CHUNK("text_completion", "null") "'text': '$word'}]$now}\n\n",
    .finish = MLX_CHUNK("text_completion", "'$finish'") "'text': ''}]$now}\n\n",
    .own = MLX_OWN("text_completion"),
    .end = DONE,
    .plain = MLX_PLAIN("text_completion"),
    .choice = "{'index': $choice, 'finish_reason': '$finish', 'text': "
	      "'$text'}",
    .usage = MLX_USAGE,
    .member = ", 'usage': ",
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .tells = TELLS_CACHED,
};

/* --- mlx_vlm: every null ---------------------------------------------------
 */

#define VLM_CHUNK                                                      \
	"data: {'id':'chatcmpl-$name$id','object':"                    \
	"'chat.completion.chunk','created':$created,'model':'$model'," \
	"'choices':["
#define VLM_DELTA(content, reasoning, finish)                             \
	"{'index':$choice,'finish_reason':" finish                        \
	",'delta':{'role':'assistant','content':" content                 \
	",'reasoning_content':null,'reasoning':" reasoning                \
	",'tool_calls':null,'tool_call_id':null,'name':null},'logprobs':" \
	"null}]$now,'timings':{'predicted_per_second':51.2}}\n\n"
#define VLM_TIMINGS                                                      \
	",'timings':{'prompt_n':$fresh,'cache_n':$cached,'predicted_n':" \
	"$completion,'prompt_ms':500.0,'predicted_per_second':50.0,"     \
	"'peak_memory':6.5,'draft_kind':null}"

const struct chat_words chat_mlx_vlm = {
    .think = VLM_CHUNK VLM_DELTA("null", "'$word'", "null"),
    .text = VLM_CHUNK VLM_DELTA("'$word'", "null", "null"),
    .finish = VLM_CHUNK VLM_DELTA("null", "null", "'$finish'"),
    .own = VLM_CHUNK "]$final" VLM_TIMINGS "}\n\n",
    .end = DONE,
    .plain = "{'id':'chatcmpl-$name$id','object':'chat.completion',"
	     "'created':$created,'model':'$model','choices':[$choices]"
	     "$final" VLM_TIMINGS "}",
    .choice = "{'index':$choice,'finish_reason':'$finish','message':"
	      "{'role':'assistant','content':'$text','reasoning_content':"
	      "null,'reasoning':$thinking,'tool_calls':null},'logprobs':"
	      "null}",
    .usage = "{'prompt_tokens':$prompt,'completion_tokens':$completion,"
	     "'total_tokens':$total,'prompt_tokens_details':"
	     "{'cached_tokens':$cached}}",
    .bare = USAGE_NULL,
    .asked = USAGE_NULL,
    .running = USAGE_RUNNING,
    .tells = TELLS_CACHED,
};

/* --- Rapid-MLX: a role at once, no finish_reason in between -------------- */

const struct chat_words chat_rapidmlx = {
    .role = VLM_CHUNK "{'index':$choice,'delta':{'role':'assistant'}}]"
		      "}\n\n: keepalive\n\n",
    .think = VLM_CHUNK "{'index':$choice,'delta':{'reasoning_content':"
		       "'$word'}}]$now}\n\n",
    .text = VLM_CHUNK "{'index':$choice,'delta':{'content':'$word'}}]$now}\n\n",
    .finish = VLM_CHUNK
    "{'index':$choice,'delta':{},'finish_reason':'$finish'}]$now}\n\n",
    .own = VLM_CHUNK "]$final}\n\n",
    .end = DONE,
    .comment = ": keepalive\n\n",
    .plain = "{'id':'chatcmpl-$name$id','object':'chat.completion',"
	     "'created':$created,'model':'$model','choices':[$choices]"
	     "$final}",
    .choice = "{'index':$choice,'message':{'role':'assistant','content':"
	      "'$text'$thoughts},'finish_reason':'$finish'}",
    .thoughts = ",'reasoning_content':'$thought'",
    .usage = "{'prompt_tokens':$prompt,'completion_tokens':$completion,"
	     "'total_tokens':$total,'completion_tokens_details':"
	     "{'reasoning_tokens':$reasoning},'prompt_tokens_details':"
	     "{'cached_tokens':$cached}}",
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
    .tells = ALL_COUNTS,
};

/* --- ollama: Go's escapes --------------------------------------------------
 */

#define OLLAMA_CHUNK                                                   \
	"data: {'id':'chatcmpl-$id','object':'chat.completion.chunk'," \
	"'created':$created,'model':'$model','system_fingerprint':"    \
	"'fp_ollama','choices':["
#define OLLAMA_PIECE                                         \
	"data: {'id':'cmpl-$id','object':'text_completion'," \
	"'created':$created,'choices':["
#define OLLAMA_ZEROS \
	",'usage':{'prompt_tokens':0,'completion_tokens':0,'total_tokens':0}"

const struct chat_words chat_ollama = {
    .role = OLLAMA_CHUNK "{'index':$choice,'delta':{'role':'assistant',"
			 "'content':''},'finish_reason':null}]}\n\n",
    .think = OLLAMA_CHUNK "{'index':$choice,'delta':{'content':'',"
			  "'reasoning':'$word'},'finish_reason':null}]$now"
			  "}\n\n",
    .text = OLLAMA_CHUNK "{'index':$choice,'delta':{'content':'$word'},"
			 "'finish_reason':null}]$now}\n\n",
    .finish = OLLAMA_CHUNK "{'index':$choice,'delta':{'content':'\\u003c'},'"
			   "finish_reason':'$finish'}]$now}\n\n",
    .own = OLLAMA_CHUNK "]$final}\n\n",
    .end = DONE,
    .plain = "{'id':'chatcmpl-$id','object':'chat.completion','created':"
	     "$created,'model':'$model','system_fingerprint':'fp_ollama',"
	     "'choices':[$choices]$final}",
    .choice = "{'index':$choice,'message':{'role':'assistant','content':"
	      "'$text\\u003c'$thoughts},'finish_reason':'$finish'}",
    .thoughts = ",'reasoning':'$thought'",
    .usage = USAGE_PLAIN,
    .bare = "",
    .asked = "",
    .running = USAGE_RUNNING,
};

const struct chat_words completions_ollama = {
    .text = OLLAMA_PIECE "{'text':'$word','index':$choice,'finish_reason':"
			 "null}],'model':'$model','system_fingerprint':"
			 "'fp_ollama'$now}\n\n",
    .finish = OLLAMA_PIECE "{'text':'','index':$choice,'finish_reason':"
			   "'$finish'}],'model':'$model',"
			   "'system_fingerprint':'fp_ollama'$now}\n\n",
    .own = OLLAMA_PIECE "],'model':'$model','system_fingerprint':"
			"'fp_ollama'$final}\n\n",
    .end = DONE,
    .plain = "{'id':'cmpl-$id','object':'text_completion','created':"
	     "$created,'model':'$model','system_fingerprint':'fp_ollama',"
	     "'choices':[$choices]$final}",
    .choice = "{'text':'$text','index':$choice,'finish_reason':'$finish'}",
    .usage = USAGE_PLAIN,
    .bare = "",
    .asked = OLLAMA_ZEROS,
    .running = USAGE_RUNNING,
};
