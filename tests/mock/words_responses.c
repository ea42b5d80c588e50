#include "words.h"

#define USAGE                                                              \
	"{'input_tokens':$prompt,'input_tokens_details':{'cached_tokens':" \
	"$cached},'output_tokens':$completion,'output_tokens_details':"    \
	"{'reasoning_tokens':$reasoning},'total_tokens':$total}"

/* --- OpenAI: type first, sequence_number last ---------------------------- */

#define EVENT(type, members)                                \
	"event: " type "\ndata: {'type':'" type "'" members \
	",'sequence_number':$seq}\n\n"
#define MSG "msg_$name_$id"
#define PART(text)                                                           \
	"{'type':'output_text','annotations':[],'logprobs':[],'text':'" text \
	"'}"
#define ITEM(status, parts)                                  \
	"{'id':'" MSG "','type':'message','status':'" status \
	"','content':[" parts "],'phase':'final_answer','role':'assistant'}"
#define THOUGHT(status, parts)                                          \
	"{'id':'rs_$name_$id','type':'reasoning','status':'" status "'" \
	",'summary':[],'content':[" parts "]}"
#define RESPONSE(facts, output, usage)                                         \
	"{'id':'resp_$name_$id','object':'response','created_at':$created"     \
	",'status':" facts ",'instructions':null,'max_output_tokens':$max"     \
	",'max_tool_calls':null,'model':'$model','moderation':null,"           \
	"'output':[" output                                                    \
	"],'parallel_tool_calls':true,'presence_penalty':0.0,"                 \
	"'previous_response_id':null,'prompt_cache_key':null,"                 \
	"'prompt_cache_retention':'24h','reasoning':{'effort':'medium',"       \
	"'summary':null},'safety_identifier':null,'service_tier':'auto',"      \
	"'store':true,'temperature':1.0,'text':{'format':{'type':'text'},"     \
	"'verbosity':'medium'},'tool_choice':'auto','tools':[],"               \
	"'top_logprobs':0,'top_p':0.98,'truncation':'disabled','usage':" usage \
	",'user':null,'metadata':{}}"
#define AT_TEXT "'content_index':0,'item_id':'" MSG "'"

#define OPENAI_PIECES                                                        \
	.open_thought = EVENT("response.output_item.added",                  \
	    ",'item':" THOUGHT("in_progress", "") ",'output_index':0"),      \
	.think = EVENT("response.reasoning_text.delta",                      \
	    ",'content_index':0,'delta':'$word','item_id':'rs_$name_$id'"    \
	    ",'logprobs':[],'output_index':0"),                              \
	.close_thought = EVENT("response.output_item.done",                  \
	    ",'item':$thoughtitem,'output_index':0"),                        \
	.open_text = EVENT("response.output_item.added",                     \
	    ",'item':" ITEM("in_progress", "") ",'output_index':$at")        \
	    EVENT("response.content_part.added",                             \
		"," AT_TEXT ",'output_index':$at,'part':" PART("")),         \
	.text = EVENT("response.output_text.delta",                          \
	    ",'content_index':0,'delta':'$word','item_id':'" MSG             \
	    "','logprobs':[],'output_index':$at"),                           \
	.close_text = EVENT("response.output_text.done",                     \
	    "," AT_TEXT ",'logprobs':[],'output_index':$at,'text':'$text'")  \
	    EVENT("response.content_part.done",                              \
		"," AT_TEXT ",'output_index':$at,'part':" PART("$text"))     \
		EVENT("response.output_item.done",                           \
		    ",'item':$item,'output_index':$at"),                     \
	.done = EVENT("response.$done", ",'response':$whole"),               \
	.begun = RESPONSE("'in_progress','background':false,'completed_at':" \
			  "null,'error':null,'frequency_penalty':0.0,"       \
			  "'incomplete_details':null",                       \
	    "", "null"),                                                     \
	.whole = RESPONSE("'$done','background':false,'completed_at':"       \
			  "$completed,'error':null,'frequency_penalty':0.0," \
			  "'incomplete_details':$incomplete",                \
	    "$thoughts$item", "$told"),                                      \
	.item = ITEM("completed", PART("$text")),                            \
	.thought_item = THOUGHT(                                             \
	    "completed", "{'type':'reasoning_text','text':'$thought'}"),     \
	.usage = USAGE, .tells = TELLS_CACHED | TELLS_REASONING

#define CREATED                                         \
	EVENT("response.created", ",'response':$begun") \
	EVENT("response.in_progress", ",'response':$begun")

const struct responses_words responses_openai = {
    .open = CREATED,
    OPENAI_PIECES,
};

/* Its keepalive is an event. */
const struct responses_words responses_rapidmlx = {
    .open = CREATED EVENT("response.in_progress", ",'response':$begun"),
    OPENAI_PIECES,
};

/* --- vLLM: type last, every null ------------------------------------------ */

#define LAST(type, members)                \
	"event: " type "\ndata: {" members \
	",'sequence_number':$seq,'type':'" type "'}\n\n"
#define VLLM_PART(text)                                             \
	"{'annotations':[],'text':'" text "','type':'output_text'," \
	"'logprobs':[]}"
#define VLLM_ITEM(status, parts)                                    \
	"{'id':'" MSG "','content':[" parts "],'role':'assistant'," \
	"'status':'" status "','type':'message','phase':null}"
#define VLLM_THOUGHT(parts)                                                \
	"{'id':'rs_$id','summary':[],'type':'reasoning','content':[" parts \
	"],'encrypted_content':null,'status':null}"
#define VLLM_RESPONSE(status, output, usage)                               \
	"{'id':'resp_$id','created_at':$created,'incomplete_details':null" \
	",'instructions':null,'metadata':null,'model':'$model','object':"  \
	"'response','output':[" output                                     \
	"],'parallel_tool_calls':true,'temperature':1.0,'tool_choice':"    \
	"'auto','tools':[],'top_p':1.0,'background':false,"                \
	"'max_output_tokens':$max,'service_tier':'auto','status':'" status \
	"','text':null,'truncation':'disabled','usage':" usage             \
	",'user':null,'kv_transfer_params':null,'input_messages':null}"

const struct responses_words responses_vllm = {
    .open = LAST("response.created", "'response':$begun")
	LAST("response.in_progress", "'response':$begun"),
    .open_thought = LAST("response.output_item.added",
	"'item':" VLLM_THOUGHT("") ",'output_index':0"),
    .think = LAST("response.reasoning_text.delta",
	"'content_index':0,'delta':'$word','item_id':'rs_$id',"
	"'output_index':0"),
    .close_thought = LAST(
	"response.output_item.done", "'item':$thoughtitem,'output_index':0"),
    .open_text = LAST("response.output_item.added",
	"'item':" VLLM_ITEM("in_progress", "") ",'output_index':$at")
	LAST("response.content_part.added",
	    AT_TEXT ",'output_index':$at,'part':" VLLM_PART("")),
    .text = LAST("response.output_text.delta",
	"'content_index':0,'delta':'$word','item_id':'" MSG
	"','logprobs':[],'output_index':$at"),
    .close_text =
	"event: response.output_text.done\ndata: {" AT_TEXT
	",'logprobs':[],'output_index':$at,'sequence_number':$seq,'text':"
	"'$text','type':'response.output_text.done'}\n\n" LAST(
	    "response.content_part.done",
	    AT_TEXT ",'output_index':$at,'part':" VLLM_PART("$text"))
	    LAST(
		"response.output_item.done", "'item':$item,'output_index':$at"),
    .done = LAST("response.completed", "'response':$whole"),
    .begun = VLLM_RESPONSE("in_progress", "", "null"),
    .whole = VLLM_RESPONSE("completed", "$thoughts$item", "$told"),
    .item = VLLM_ITEM("completed", VLLM_PART("$text")),
    .thought_item = VLLM_THOUGHT("{'text':'$thought','type':'reasoning_text'}"),
    .usage = "{'input_tokens':$prompt,'input_tokens_details':"
	     "{'cached_tokens':$cached,'input_tokens_per_turn':[]},"
	     "'output_tokens':$completion,'output_tokens_details':"
	     "{'reasoning_tokens':$reasoning,'tool_output_tokens':0},"
	     "'total_tokens':$total}",
    .tells = TELLS_CACHED | TELLS_REASONING,
};

/* --- llama.cpp: no numbers, no places ------------------------------------- */

#define BARE(type, members) \
	"event: " type "\ndata: {'type':'" type "'," members "}\n\n"
#define LLAMACPP_ITEM(parts)                                \
	"{'type':'message','status':'completed','id':'" MSG \
	"','content':[" parts "],'role':'assistant'}"
#define LLAMACPP_THOUGHT                                             \
	"{'id':'rs_$id','summary':[],'type':'reasoning','content':[" \
	"{'text':'$thought','type':'reasoning_text'}],'status':'completed'}"
#define LLAMACPP_BEGUN \
	"{'id':'resp_$id','object':'response','status':'in_progress'}"

const struct responses_words responses_llamacpp = {
    .open = BARE("response.created", "'response':" LLAMACPP_BEGUN)
	BARE("response.in_progress", "'response':" LLAMACPP_BEGUN),
    .open_thought = BARE("response.output_item.added",
	"'item':{'id':'rs_$id','summary':[],'type':'reasoning','content':[]"
	",'status':'in_progress'}"),
    .think = BARE(
	"response.reasoning_text.delta", "'delta':'$word','item_id':'rs_$id'"),
    .close_thought = BARE("response.output_item.done", "'item':$thoughtitem"),
    .open_text = BARE("response.output_item.added",
	"'item':{'content':[],'id':'" MSG "','role':'assistant','status':"
	"'in_progress','type':'message'}") BARE("response.content_part.added",
	"'item_id':'" MSG "','part':{'type':'output_text','text':''}"),
    .text = BARE(
	"response.output_text.delta", "'item_id':'" MSG "','delta':'$word'"),
    .close_text = BARE("response.output_text.done",
	"'item_id':'" MSG "','text':'$text'") BARE("response.content_part.done",
	"'item_id':'" MSG "','part':" PART("$text"))
	BARE("response.output_item.done", "'item':$item"),
    .done = BARE("response.completed", "'response':$whole"),
    .whole = "{'id':'resp_$id','object':'response','created_at':$created,"
	     "'status':'completed','model':'$model','output':[$thoughts"
	     "$item],'usage':$told}",
    .item = LLAMACPP_ITEM(PART("$text")),
    .thought_item = LLAMACPP_THOUGHT,
    .usage = "{'input_tokens':$prompt,'output_tokens':$completion,"
	     "'total_tokens':$total,'input_tokens_details':"
	     "{'cached_tokens':$cached}}",
    .tells = TELLS_CACHED,
};

/* --- ollama: keys in alphabetical order ----------------------------------- */

#define OLLAMA_PART(text)                                           \
	"{'annotations':[],'logprobs':[],'text':'" text "','type':" \
	"'output_text'}"
#define OLLAMA_RESPONSE(output, status, usage)                                 \
	"{'created_at':$created,'error':null,'id':'resp_$id','model':"         \
	"'$model','object':'response','output':[" output "],'status':'" status \
	"','usage':" usage "}"

const struct responses_words responses_ollama = {
    .open = LAST("response.created", "'response':$begun")
	LAST("response.in_progress", "'response':$begun"),
    .open_thought = LAST("response.output_item.added",
	"'item':{'id':'rs_$id','summary':[],'type':'reasoning'},"
	"'output_index':0"),
    .think = LAST("response.reasoning_summary_text.delta",
	"'delta':'$word','item_id':'rs_$id','output_index':0"),
    .close_thought = LAST(
	"response.output_item.done", "'item':$thoughtitem,'output_index':0"),
    .open_text = LAST("response.output_item.added",
	"'item':{'content':[],'id':'" MSG "','role':'assistant','status':"
	"'in_progress','type':'message'},'output_index':$at")
	LAST("response.content_part.added",
	    AT_TEXT ",'output_index':$at,'part':" OLLAMA_PART("")),
    .text = LAST("response.output_text.delta",
	"'content_index':0,'delta':'$word','item_id':'" MSG
	"','output_index':$at"),
    .close_text =
	"event: response.output_text.done\ndata: {" AT_TEXT
	",'output_index':$at,'sequence_number':$seq,'text':'$text',"
	"'type':'response.output_text.done'}\n\n" LAST(
	    "response.content_part.done",
	    AT_TEXT ",'output_index':$at,'part':" OLLAMA_PART("$text"))
	    LAST(
		"response.output_item.done", "'item':$item,'output_index':$at"),
    .done = LAST("response.completed", "'response':$whole"),
    .begun = OLLAMA_RESPONSE("", "in_progress", "null"),
    .whole = OLLAMA_RESPONSE("$thoughts$item", "completed", "$told"),
    .item = "{'content':[" OLLAMA_PART(
	"$text") "],'id':'" MSG
		 "','role':'assistant','status':'completed','type':'message'}",
    .thought_item = "{'id':'rs_$id','summary':[{'text':'$thought','type':"
		    "'summary_text'}],'type':'reasoning'}",
    .usage = "{'input_tokens':$prompt,'input_tokens_details':"
	     "{'cached_tokens':0},'output_tokens':$completion,"
	     "'output_tokens_details':{'reasoning_tokens':0},"
	     "'total_tokens':$total}",
};
