// Writes the seeds: for every target a few small inputs that get past the first check.
//   fuzz_seeds DIRECTORY   makes DIRECTORY/<target>/<n>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "tests/fakes/adapter_files.h"
#include "tests/text/fixture.h"

namespace hydrad {
namespace {

using nlohmann::json;

class Seeds {
 public:
  explicit Seeds(std::filesystem::path root) : root_(std::move(root)) {}

  void Add(const std::string& target, const std::string& bytes) {
    std::filesystem::create_directories(root_ / target);
    const auto path = root_ / target / std::to_string(++count_);
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

 private:
  const std::filesystem::path root_;
  int count_ = 0;
};

// Small enough for the fuzzer to change what matters.
json TinyTokenizer(const json& pre_tokenizer, const json& normalizer, const json& decoder) {
  json model = BpeJson({"<unk>", "a", "b", "Ġ", "▁", "<0xC3>"}, {{"a", "b"}, {"Ġ", "ab"}, {"▁", "a"}});
  model["unk_token"] = "<unk>";
  return {{"added_tokens", json::array({{{"content", "<s>"}, {"special", true}, {"normalized", false}},
                                        {{"content", "b a"}, {"lstrip", true}, {"single_word", true}}})},
          {"normalizer", normalizer},
          {"pre_tokenizer", pre_tokenizer},
          {"decoder", decoder},
          {"model", model}};
}

void AddTokenizers(Seeds* seeds) {
  seeds->Add("tokenizer", ByteLevelFile({{"h", "e"}, {"Ġ", "he"}}).dump());
  seeds->Add("tokenizer", SentencePieceFile({"▁", "a"}, {{"▁", "a"}}).dump());
  const json split = json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\p{L}+|[^\\s]{1,3}"}, "behavior": "MergedWithNext", "invert": true},
      {"type": "Digits", "individual_digits": true}, {"type": "ByteLevel", "use_regex": false}]})");
  const json space = json::parse(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"})");
  const json normal =
      json::parse(R"({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"},
      {"type": "Strip", "strip_left": true, "strip_right": true},
      {"type": "Replace", "pattern": {"String": "l"}, "content": "ab"}]})");
  const json decoder = json::parse(R"({"type": "Sequence", "decoders": [{"type": "ByteFallback"},
      {"type": "Metaspace", "replacement": "▁"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 1}]})");
  seeds->Add("tokenizer", TinyTokenizer(split, normal, {{"type", "ByteLevel"}}).dump());
  seeds->Add("tokenizer", TinyTokenizer(space, nullptr, decoder).dump());
  for (const char* text :
       {"he he <|end|> é 1\n", "▁▁ a ab\xf0\x9f\x98", "\x01\xf0\x01\x9f\x01\x98\x01\x80"}) {
    seeds->Add("tokenizer_text", text);
  }
  for (const char* pattern :
       {"\\s+(?!\\S)|\\s+", "(?i:'s|'t)| ?\\p{L}+|\\p{N}{1,3}", "[^\\r\\n\\p{L}a-z[0-9]]?+(?<=a)"}) {
    seeds->Add("regex", pattern + std::string("\0It's a  test 123", 17));
  }
}

void AddTemplates(Seeds* seeds) {
  for (const char* source : {"{{ bos_token }}{% for m in messages if m.content %}{{ m.role ~ '\\n' + "
                             "m['content'] | trim }}{% else %}-{% endfor %}",
                             "{%- macro f(a, b=1) -%}{{ a }}{{ caller() }}{% endmacro %}{% call f(n, b=l) "
                             "%}{{ l[1:][::-1] | tojson }}{% endcall %}",
                             "{% set ns = namespace(a=0) %}{% for k, v in d.items() %}{% set ns.a = ns.a + "
                             "loop.index %}{% break %}{% endfor %}{{ ns.a }}",
                             "{% if tools is defined and tools | length > 0 %}{{ tools | "
                             "map(attribute='function') | selectattr('name') | list }}{% endif %}",
                             "{{ s.split('-')[0].upper().replace('A', 'bc', 1) }}{{ '%05.1f|%s' % (x, l) "
                             "}}{{ '{:>9}'.format(s) }}{{ s | indent(2, true) }}",
                             "{% set q %}{{ s | title }}{% endset %}{% filter upper %}{{ q }}{% endfilter "
                             "%}{# c #}{% raw %}{{ }}{% endraw %}",
                             "{{ l | groupby('k') | list if false else l | batch(2) | list }}{{ range(n) | "
                             "sum }}{{ (1, 2) in [[1, 2]] }}{{ 7 // -2 ** 2 }}"}) {
    seeds->Add("chat_template", source);
  }
}

void AddAdapters(Seeds* seeds) {
  for (const AdapterFiles& adapter :
       {PlainLora(), PlainLora(1, "BF16"), Hydra(), Hydra(1, /*shared_a=*/false), Moa()}) {
    const auto files = adapter.Bytes();
    const std::string& config = files.at("adapter_config.json");
    const std::string& tensors = files.at("adapter_model.safetensors");
    seeds->Add("adapter_config", config);
    seeds->Add("safetensors", tensors);
    seeds->Add("adapter", config + std::string(1, '\0') + tensors);
  }
  seeds->Add("adapter_config",
             R"({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "rank_pattern": {"q_proj": 4},
      "alpha_pattern": {".*\\.0\\..*": 32.5}, "use_rslora": true, "target_modules": ["q_proj"]})");
}

void AddConfigs(Seeds* seeds) {
  seeds->Add("config", R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16,
      "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2,
      "vocab_size": 64, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
      "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 64}, "hidden_act": "silu", "tie_word_embeddings": true})");
  seeds->Add("tenants", R"({"tenants": [{"name": "a", "key": "secret"}]})");
}

void AddAnswers(Seeds* seeds) {
  const std::string call = R"({"name": "f", "arguments": {"x": [1.5, "\u00e9", null]}})";
  // The first byte is the format, the next three say how the answer is cut.
  seeds->Add("http",
             "\x07POST /v1/completions HTTP/1.1\r\nContent-Length: 68\r\n\r\n{\"prompt\": [[1, 2], [3]], "
             "\"n\": 2, \"hydrad\": "
             "{\"adapters\": [\"a\"]}}   GET /v1/models/a%2Fb HTTP/1.1\r\n\r\n");
  seeds->Add(
      "http",
      "\x03POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2b\r\n{\"messages\": "
      "[{\"role\": \"user\", \"content\":\r\n1e\r\n[{\"type\": \"text\", \"text\": "
      "\"\r\n5\r\nx\"}]}\r\n2\r\n]}\r\n0\r\n\r\n");
  seeds->Add("answer_parser",
             "\x01\x03\x05\x07<think>\na\n</think>\n<tool_call>\n" + call + "\n</tool_call>\n");
  seeds->Add("answer_parser", "\x02\x01\x09\x02" + call + "; " + call);
  seeds->Add("answer_parser", "\x02\x01\x09\x02 a<|python_tag|>" + call);
  seeds->Add("answer_parser", "\x03\x04\x04\x04[TOOL_CALLS] [" + call + ", " + call + "]");
  seeds->Add("answer_parser",
             "\x07\x04\x04\x04 a</think>[TOOL_CALLS]f[CALL_ID]1[ARGS]{}[TOOL_CALLS]g[ARGS]{}");
}

}  // namespace
}  // namespace hydrad

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fuzz_seeds DIRECTORY\n";
    return 2;
  }
  hydrad::Seeds seeds(argv[1]);
  hydrad::AddTemplates(&seeds);
  AddTokenizers(&seeds);
  hydrad::AddAdapters(&seeds);
  hydrad::AddConfigs(&seeds);
  hydrad::AddAnswers(&seeds);
  return 0;
}
