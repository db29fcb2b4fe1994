// The form that a client wants its answer to have, as OpenAI's API and others name it.
#ifndef HYDRAD_SERVER_HTTP_FORM_CALL_H_
#define HYDRAD_SERVER_HTTP_FORM_CALL_H_

#include <string>

#include "server/front/generate_call.h"
#include "server/http/body_reader.h"

namespace hydrad {

// Reads the fields that ask for a form into `call->form`:
//
//   response_format     OpenAI's: {"type": "text"}, {"type": "json_object"}, or {"type": "json_schema",
//                       "json_schema": {"name": ..., "schema": {...}}}, whose answers keep to the schema
//                       whether or not it is "strict"
//   structured_outputs  vLLM's: an object with one of "json" (a schema, as an object or as text), "regex",
//                       "choice" (a list), "grammar" and "json_object" (true)
//   guided_json, guided_regex, guided_choice, guided_grammar   vLLM's earlier names of the same
//
// At most one of them may ask. `name` becomes its name, which errors of the form's text carry; it stays as it
// is where none does.
void ReadForm(BodyReader& reader, GenerateCall* call, std::string* name);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_FORM_CALL_H_
