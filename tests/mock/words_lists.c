#include "words.h"

/* --- embeddings ------------------------------------------------------------
 */

#define PROMPT_USAGE "'usage':{'prompt_tokens':$prompt,'total_tokens':$prompt}"
#define VECTOR "{'object':'embedding','index':$index,'embedding':$vector}"

const struct list_words embeddings_openai = {
    .open = "{'object':'list','data':[",
    .item = VECTOR,
    .close = "],'model':'$model'$final}",
    .usage = PROMPT_USAGE,
};

/* Its place stands behind the vector. */
const struct list_words embeddings_last = {
    .open = "{'object':'list','data':[",
    .item = "{'object':'embedding','embedding':$vector,'index':$index}",
    .close = "],'model':'$model'$final}",
    .usage = PROMPT_USAGE,
};

const struct list_words embeddings_vllm = {
    .open = "{'id':'embd-$id','object':'list','created':$created,'model':"
	    "'$model','data':[",
    .item = "{'index':$index,'object':'embedding','embedding':$vector}",
    .close = "]$final}",
    .usage = "'usage':{'prompt_tokens':$prompt,'total_tokens':$prompt,"
	     "'completion_tokens':0,'prompt_tokens_details':null}",
};

const struct list_words embeddings_llamacpp = {
    .open = "{'model':'$model','object':'list'$final,'data':[",
    .item = "{'embedding':$vector,'index':$index,'object':'embedding'}",
    .close = "]}",
    .usage = PROMPT_USAGE,
};

/* --- rerank: the last document is always the best ------------------------- */

#define SCORED "{'index':$last,'relevance_score':$score}"

const struct list_words rerank_default = {
    .open = "{'id':'rerank-$name-$id','model':'$model'$final,'results':[",
    .item = SCORED,
    .close = "],'meta':{'api_version':{'version':'2'},'billed_units':"
	     "{'search_units':1}}}",
    .usage = PROMPT_USAGE,
};

const struct list_words rerank_vllm = {
    .open = "{'id':'rerank-$id','model':'$model'$final,'results':[",
    .item = "{'index':$last,'document':{'text':'Kites need wind.',"
	    "'multi_modal':null},'relevance_score':$score}",
    .close = "]}",
    .usage = PROMPT_USAGE,
};

const struct list_words rerank_llamacpp = {
    .open = "{'model':'$model','object':'list'$final,'results':[",
    .item = SCORED,
    .close = "]}",
    .usage = PROMPT_USAGE,
};

const struct list_words rerank_mlx_vlm = {
    .open = "{'model':'$model','results':[",
    .item = SCORED,
    .close = "]$final}",
    .usage = PROMPT_USAGE,
};

/* What it cost stands in the head. */
const struct list_words rerank_tei = {
    .open = "[",
    .item = "{'index':$last,'text':'Kites need wind.','score':$score}",
    .close = "]",
};

const struct list_words rerank_infinity = {
    .open = "{'object':'rerank','results':[",
    .item = "{'relevance_score':$score,'index':$last,'document':'Kites'}",
    .close = "],'model':'$model'$final,'id':'infinity-$id','created':"
	     "$created}",
    .usage = PROMPT_USAGE,
};

/* Bills searches, not tokens. */
const struct list_words rerank_cohere = {
    .open = "{'id':'$name-$id','results':[",
    .item = SCORED,
    .close = "],'meta':{'api_version':{'version':'2'},'billed_units':"
	     "{'search_units':1}}}",
};

const struct list_words rerank_jina = {
    .open = "{'model':'$model','object':'list'$final,'results':[",
    .item = "{'index':$last,'relevance_score':$score,'document':{'text':"
	    "'Kites'}}",
    .close = "]}",
    .usage = "'usage':{'total_tokens':$prompt}",
};

/* --- errors ----------------------------------------------------------------
 */

#define OPENAI_ERROR                                                      \
	"{'error':{'message':$message,'type':'$otype','param':null,'code" \
	"':$ocode}}"
#define ANTHROPIC_ERROR                                       \
	"{'type':'error','error':{'type':'$atype','message':" \
	"$message},'request_id':'req_mock'}"
#define VLLM_EVENT                                                    \
	"data: {'error': {'message': 'The mock broke off.', 'type': " \
	"'InternalServerError', 'param': null, 'code': 500}}\n\n"
#define MESSAGES_EVENT                                         \
	"event: error\ndata: {'type':'error','error':{'type':" \
	"'overloaded_error','message':'Overloaded'}}\n\n"
#define RESPONSES_EVENT                                                   \
	"event: error\ndata: {'type':'error','code':'server_error',"      \
	"'message':'The mock broke off.','param':null,'sequence_number':" \
	"9}\n\n"

const struct error_words errors_default = {
    .body = OPENAI_ERROR,
    .body_messages = ANTHROPIC_ERROR,
    .event = VLLM_EVENT "data: [DONE]\n\n",
    .event_messages = MESSAGES_EVENT,
    .event_responses = RESPONSES_EVENT,
};

const struct error_words errors_openai = {
    .body = OPENAI_ERROR,
    .body_messages = ANTHROPIC_ERROR,
    .event = "data: {'error':{'message':'The mock broke off.','type':"
	     "'server_error','param':null,'code':null}}\n\n",
    .event_messages = MESSAGES_EVENT,
    .event_responses = "event: error\ndata: {'type':'error','error':"
		       "{'type':'server_error','code':'server_error',"
		       "'message':'The mock broke off.','param':null},"
		       "'sequence_number':9}\n\n",
};

const struct error_words errors_vllm = {
    .body = "{'error':{'message':$message,'type':'$vtype','param':null,"
	    "'code':$status}}",
    .body_messages = ANTHROPIC_ERROR,
    .event = VLLM_EVENT "data: [DONE]\n\n",
    .event_messages = "event: error\ndata: {'type':'error','error':{'type':"
		      "'internal_error','message':'The mock broke off.'}}"
		      "\n\n",
    .event_responses = RESPONSES_EVENT,
};

const struct error_words errors_llamacpp = {
    .body = "{'error':{'code':$status,'message':$message,'type':'$otype'}}",
    .body_messages =
	"{'error':{'code':$status,'message':$message,'type':'$otype'}}",
    .event = "data: {'error':{'code':500,'message':'Compute error.','type':"
	     "'server_error'}}\n\n",
    .event_messages = "event: error\ndata: {'code':500,'message':"
		      "'Compute error.','type':'server_error'}\n\n",
    .event_responses = "event: error\ndata: {'code':500,'message':"
		       "'Compute error.','type':'server_error'}\n\n",
};

/* In a stream the connection ends, and nothing is said. */
const struct error_words errors_mlx_lm = {
    .body = "{'error': $message}",
    .body_messages = "{'error': $message}",
    .event = "",
    .event_messages = "",
    .event_responses = "",
};

const struct error_words errors_mlx_vlm = {
    .body = "{'detail':$message}",
    .body_messages = ANTHROPIC_ERROR,
    .event = "data: {'error': 'Generation failed: out of memory'}\n\n",
    .event_messages = MESSAGES_EVENT,
    .event_responses = RESPONSES_EVENT,
};

/* A stream degrades to an empty chunk of no model. */
const struct error_words errors_ollama = {
    .body = "{'error':{'message':$message,'type':'api_error','param':null,"
	    "'code':null}}\n",
    .body_messages = ANTHROPIC_ERROR,
    .event = "data: {'id':'chatcmpl-$id','object':'chat.completion.chunk',"
	     "'created':$created,'model':'','system_fingerprint':"
	     "'fp_ollama','choices':[{'index':0,'delta':{'content':''},"
	     "'finish_reason':null}]}\n\n",
    .event_messages = MESSAGES_EVENT,
    .event_responses = RESPONSES_EVENT,
};

const struct error_words errors_tei = {
    .body = "{'message':$message,'code':$status,'type':'$otype'}",
    .body_messages = ANTHROPIC_ERROR,
    .event = "",
    .event_messages = "",
    .event_responses = "",
};

const struct error_words errors_fireworks = {
    .body = "{'error':{'object':'error','type':'$otype','code':'$vtype',"
	    "'message':$message}}",
    .body_messages = ANTHROPIC_ERROR,
    .event = "data: {'error':'The mock broke off.'}\n\n",
    .event_messages = MESSAGES_EVENT,
    .event_responses = RESPONSES_EVENT,
};

/* The error stands beside a last choice. */
const struct error_words errors_openrouter = {
    .body = "{'error':{'code':$status,'message':$message,'metadata':"
	    "{'provider_name':'Azure'}}}",
    .body_messages = ANTHROPIC_ERROR,
    .event = "data: {'id':'gen-$name-$id','object':'chat.completion.chunk',"
	     "'created':$created,'model':'m','provider':'Azure','error':"
	     "{'code':502,'message':'Provider disconnected'},'choices':"
	     "[{'index':0,'delta':{'content':''},'finish_reason':'error'}]}"
	     "\n\n",
    .event_messages = MESSAGES_EVENT,
    .event_responses = RESPONSES_EVENT,
};
