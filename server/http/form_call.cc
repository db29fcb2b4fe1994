#include "server/http/form_call.h"

#include <utility>

namespace hydrad {
namespace {

using Kind = AnswerForm::Kind;

AnswerForm SchemaForm(const Json& schema) {
  std::string text = schema.is_string() ? schema.get<std::string>() : schema.dump();
  return {.kind = Kind::kJsonSchema, .text = std::move(text), .choices = {}};
}

// Takes the forms that the fields of a body ask for, and refuses the second.
class FormFields {
 public:
  FormFields(BodyReader& reader, GenerateCall* call, std::string* name)
      : reader_(reader), call_(call), name_(name) {}

  void Set(const std::string& field, AnswerForm form) {
    if (call_->form) return reader_.Fail(field, "must be left out beside " + *name_);
    call_->form = std::move(form);
    *name_ = field;
  }

  // Fields that hold a form each, in `from`, whose own names have `prefix` before them.
  void SetEach(BodyReader& from, const std::string& prefix, const std::string& path) {
    const auto named = [&](const char* name) { return prefix + name; };
    if (const Json* schema = from.Value(named("json").c_str())) {
      if (!schema->is_object() && !schema->is_string())
        return from.Fail(named("json"), "must be a schema, as an object or as text");
      Set(path + "json", SchemaForm(*schema));
    }
    if (auto regex = from.Text(named("regex").c_str()))
      Set(path + "regex", {.kind = Kind::kRegex, .text = *std::move(regex), .choices = {}});
    if (from.Value(named("choice").c_str()) != nullptr)
      Set(path + "choice",
          {.kind = Kind::kChoice, .text = {}, .choices = from.Texts(named("choice").c_str())});
    if (auto grammar = from.Text(named("grammar").c_str()))
      Set(path + "grammar", {.kind = Kind::kEbnf, .text = *std::move(grammar), .choices = {}});
  }

 private:
  BodyReader& reader_;
  GenerateCall* const call_;
  std::string* const name_;
};

void ReadResponseFormat(BodyReader& reader, FormFields& fields) {
  const Json* object = reader.Object("response_format");
  if (object == nullptr) return;
  BodyReader format(*object, "response_format.");
  const std::string type = format.Text("type").value_or("");
  if (type == "json_object") {
    fields.Set("response_format", AnswerForm{});
  } else if (type == "json_schema") {
    const Json* named = format.Object("json_schema");
    if (named == nullptr) {
      format.Fail("json_schema", "must be set");
    } else {
      BodyReader inner(*named, "response_format.json_schema.");
      inner.Ignore({"name", "description"});
      inner.Bool("strict");
      if (const Json* schema = inner.Object("schema")) {
        fields.Set("response_format", SchemaForm(*schema));
      } else {
        inner.Fail("schema", "must be set");
      }
      format.Finish(inner);
    }
  } else if (type != "text") {
    format.Fail("type", "must be 'text', 'json_object' or 'json_schema'");
  }
  reader.Finish(format);
}

void ReadStructuredOutputs(BodyReader& reader, const GenerateCall& call, FormFields& fields) {
  const Json* object = reader.Object("structured_outputs");
  if (object == nullptr) return;
  BodyReader outputs(*object, "structured_outputs.");
  fields.SetEach(outputs, "", "structured_outputs.");
  if (outputs.Bool("json_object").value_or(false)) fields.Set("structured_outputs.json_object", AnswerForm{});
  reader.Finish(outputs);
  if (!call.form) reader.Fail("structured_outputs", "must hold json, regex, choice, grammar or json_object");
}

}  // namespace

void ReadForm(BodyReader& reader, GenerateCall* call, std::string* name) {
  FormFields fields(reader, call, name);
  ReadResponseFormat(reader, fields);
  ReadStructuredOutputs(reader, *call, fields);
  fields.SetEach(reader, "guided_", "guided_");
}

}  // namespace hydrad
