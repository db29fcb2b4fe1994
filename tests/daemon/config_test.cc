#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "server/text/answer/tool_format.h"

namespace hydrad {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class ConfigTest : public testing::Test {
 protected:
  void TearDown() override {
    for (const std::string& name : set_) unsetenv(name.c_str());
  }
  void SetVariable(const std::string& name, const std::string& value) {
    setenv(name.c_str(), value.c_str(), 1);
    set_.push_back(name);
  }
  std::string File(const std::string& text) {
    const std::string path = testing::TempDir() + "/hydrad_config_test.toml";
    std::ofstream(path) << text;
    return path;
  }
  Config Good(std::vector<std::string> arguments) {
    const CommandLine line = ParseConfig(arguments);
    EXPECT_FALSE(line.exit) << line.exit->text;
    return line.config;
  }
  // The text of a mistake.
  std::string Bad(std::vector<std::string> arguments) {
    const CommandLine line = ParseConfig(arguments);
    if (!line.exit) return "accepted";
    EXPECT_EQ(line.exit->code, 2);
    EXPECT_THAT(line.exit->text, StartsWith("hydrad: "));
    EXPECT_EQ(line.exit->text.find('\n'), line.exit->text.size() - 1) << "one line";
    return line.exit->text;
  }
  std::vector<std::string> set_;
};

TEST_F(ConfigTest, DefaultsAreThoseOfTheStruct) {
  const Config config = Good({"--model", "m"});
  EXPECT_EQ(config.model, "m");
  EXPECT_EQ(config.listen, "127.0.0.1:8471");
  EXPECT_EQ(config.http_listen, "127.0.0.1:8470");
  EXPECT_EQ(config.weights, "bf16");
  EXPECT_EQ(config.max_waiting, 1024);
  EXPECT_EQ(config.tool_parser, "auto");
  EXPECT_EQ(config.kv_cache_memory, 0u);
  EXPECT_EQ(config.adapter_device_memory, 1ull << 30);
  EXPECT_EQ(config.adapter_host_memory, 2ull << 30);
  EXPECT_FALSE(config.reflection);
  EXPECT_TRUE(config.adapters.empty());
}

TEST_F(ConfigTest, KnowsEveryToolFormat) {
  for (const ToolFormat format :
       {ToolFormat::kNone, ToolFormat::kHermes, ToolFormat::kLlama3Json, ToolFormat::kMistral}) {
    const std::string name(Name(format));
    EXPECT_EQ(Good({"--model", "m", "--tool-parser", name}).tool_parser, name);
  }
  EXPECT_THAT(Bad({"--model", "m", "--tool-parser", "qwen"}), HasSubstr("--tool-parser"));
}

TEST_F(ConfigTest, FlagsBeatVariablesBeatTheFile) {
  const std::string file =
      File("model = \"from-file\"\nlisten = \"file:1\"\nthreads = 1\nmax-running = 10\n");
  const Config from_file = Good({"--config", file});
  EXPECT_EQ(from_file.model, "from-file");
  EXPECT_EQ(from_file.listen, "file:1");
  EXPECT_EQ(from_file.threads, 1);
  SetVariable("HYDRAD_LISTEN", "variable:2");
  SetVariable("HYDRAD_THREADS", "2");
  const Config config = Good({"--config", file, "--threads", "3"});
  EXPECT_EQ(config.max_running, 10);
  EXPECT_EQ(config.listen, "variable:2");
  EXPECT_EQ(config.threads, 3);
}

TEST_F(ConfigTest, ListsFollowTheSameOrder) {
  const std::string file = File("model = \"m\"\nadapter-root = \"r\"\nadapter = [\"a=1\", \"b=2\"]\n");
  ASSERT_EQ(Good({"--config", file}).adapters.size(), 2u);
  EXPECT_EQ(Good({"--config", file}).adapters[1].name, "b");
  SetVariable("HYDRAD_ADAPTER", "c=3,d=4,e=5");
  EXPECT_EQ(Good({"--config", file}).adapters.size(), 3u);
  const Config config = Good({"--config", file, "--adapter", "x=y/z=1", "--adapter", "w=v"});
  ASSERT_EQ(config.adapters.size(), 2u);
  EXPECT_EQ(config.adapters[0].name, "x");
  EXPECT_EQ(config.adapters[0].path, "y/z=1");
}

TEST_F(ConfigTest, VariablesSetFlagsToo) {
  SetVariable("HYDRAD_ALLOW_PLAINTEXT_PUBLIC", "true");
  SetVariable("HYDRAD_MODEL", "m");
  EXPECT_TRUE(Good({}).allow_plaintext_public);
}

TEST_F(ConfigTest, AnEmptyVariableIsTheEmptyValue) {
  const std::string file = File("model = \"m\"\nmetrics-listen = \"file:1\"\n");
  SetVariable("HYDRAD_ADMIN_LISTEN", "");
  SetVariable("HYDRAD_METRICS_LISTEN", "");
  const Config config = Good({"--config", file});
  EXPECT_EQ(config.admin_listen, "");
  EXPECT_EQ(config.metrics_listen, "");
  EXPECT_EQ(config.listen, Config().listen);
  EXPECT_EQ(Good({"--config", file, "--admin-listen", "flag:1"}).admin_listen, "flag:1");
  SetVariable("HYDRAD_MODEL", "");
  SetVariable("HYDRAD_ADMIN_KEY_SHA256", "");
  SetVariable("HYDRAD_REFLECTION", "");
  EXPECT_FALSE(Good({"--model", "m"}).reflection);
  SetVariable("HYDRAD_THREADS", "");
  EXPECT_THAT(Bad({"--model", "m"}), HasSubstr("--threads"));
}

TEST_F(ConfigTest, NothingAfterTheSignIsTheEmptyValueToo) {
  const Config config = Good({"--model", "m", "--metrics-listen=", "--admin-listen=", "--threads", "3"});
  EXPECT_EQ(config.metrics_listen, "");
  EXPECT_EQ(config.admin_listen, "");
  EXPECT_EQ(config.threads, 3);
}

TEST_F(ConfigTest, MemoryHasUnits) {
  EXPECT_EQ(Good({"--model", "m", "--kv-cache-memory", "1GiB"}).kv_cache_memory, 1ull << 30);
  EXPECT_EQ(Good({"--model", "m", "--kv-cache-memory", "1GB"}).kv_cache_memory, 1'000'000'000u);
  EXPECT_EQ(Good({"--model", "m", "--adapter-device-memory=512 MiB"}).adapter_device_memory, 512ull << 20);
  EXPECT_EQ(Good({"--model", "m", "--adapter-host-memory=4096"}).adapter_host_memory, 4096u);
  EXPECT_THAT(Bad({"--model", "m", "--adapter-device-memory", "many"}), HasSubstr("--adapter-device-memory"));
  EXPECT_THAT(Bad({"--model", "m", "--adapter-device-memory", "-1"}), HasSubstr("--adapter-device-memory"));
}

TEST_F(ConfigTest, MistakesNameTheOption) {
  EXPECT_THAT(Bad({}), HasSubstr("--model"));
  EXPECT_THAT(Bad({"--model", "m", "--no-such-flag"}), HasSubstr("--no-such-flag"));
  EXPECT_THAT(Bad({"--modle", "m"}), HasSubstr("unknown option '--modle'; did you mean '--model'?"));
  EXPECT_THAT(Bad({"--config", File("model = \"m\"\nmax-runing = 3\n")}),
              HasSubstr("unknown key 'max-runing'; did you mean 'max-running'?"));
  EXPECT_THAT(Bad({"--model", "m", "stray"}), HasSubstr("stray"));
  EXPECT_THAT(Bad({"--model", "m", "--threads", "5000"}), HasSubstr("--threads"));
  EXPECT_THAT(Bad({"--model", "m", "--threads", "two"}), HasSubstr("--threads"));
  EXPECT_THAT(Bad({"--model", "m", "--weights", "int4"}), HasSubstr("--weights"));
  EXPECT_THAT(Bad({"--model", "m", "--max-running", "0"}), HasSubstr("--max-running"));
  EXPECT_THAT(Bad({"--model", "m", "--log-level", "loud"}), HasSubstr("--log-level"));
  EXPECT_THAT(Bad({"--model", "m", "--drain-timeout", "-1"}), HasSubstr("--drain-timeout"));
  EXPECT_THAT(Bad({"--model", "m", "--adapter-root", "r", "--adapter", "sql"}), HasSubstr("NAME=DIR"));
  EXPECT_THAT(Bad({"--model", "m", "--adapter", "sql=dir"}), HasSubstr("--adapter-root"));
  EXPECT_THAT(Bad({"--model", "m", "--tls-cert", "c"}), HasSubstr("--tls-key"));
  EXPECT_THAT(Bad({"--model", "m", "--tls-key", "k"}), HasSubstr("--tls-cert"));
  EXPECT_THAT(Bad({"--model", "m", "--tls-client-ca", "a"}), HasSubstr("--tls-cert"));
  EXPECT_THAT(Bad({"--model", "m", "--admin-key-sha256", "abc"}), HasSubstr("--admin-key-sha256"));
  for (const char* origin :
       {"https://a/", "https://a/b", "a", "https://", "https://A", "null", "https://*.a", ""})
    EXPECT_THAT(Bad({"--model", "m", "--http-cors-origin", origin}), HasSubstr("--http-cors-origin"))
        << origin;
  EXPECT_THAT(Bad({"--model", "m", "--http-cors-origin", "*", "--tenants", "t"}),
              HasSubstr("name the origins"));
}

TEST_F(ConfigTest, UnknownKeysOfTheFileAreMistakes) {
  EXPECT_THAT(Bad({"--config", File("model = \"m\"\nmax_runing = 3\n")}), HasSubstr("max_runing"));
  EXPECT_THAT(Bad({"--config", File("model = \"m\"\n[section]\nlisten = \"x:1\"\n")}), HasSubstr("section"));
  EXPECT_THAT(Bad({"--model", "m", "--config", "/no/such/file"}), HasSubstr("/no/such/file"));
}

TEST_F(ConfigTest, BadValuesOfFileAndVariablesAreMistakes) {
  EXPECT_THAT(Bad({"--config", File("model = \"m\"\nthreads = -1\n")}), HasSubstr("threads"));
  SetVariable("HYDRAD_THREADS", "x");
  EXPECT_THAT(Bad({"--model", "m"}), HasSubstr("threads"));
}

TEST_F(ConfigTest, AVariableMayNameTheFile) {
  SetVariable("HYDRAD_CONFIG", File("model = \"from-file\"\n"));
  EXPECT_EQ(Good({}).model, "from-file");
  EXPECT_THAT(Bad({"--config", "/no/such/file"}), HasSubstr("/no/such/file"));
}

TEST_F(ConfigTest, LaterFlagsOverrideEarlierOnes) {
  EXPECT_EQ(Good({"--model", "m", "--threads", "1", "--threads", "2"}).threads, 2);
}

TEST_F(ConfigTest, VariablesOfOthersAreNoMistakes) {
  SetVariable("HYDRAD_PORT", "tcp://10.0.0.1:8471");
  SetVariable("HYDRAD_SERVICE_HOST", "10.0.0.1");
  Good({"--model", "m"});
}

TEST_F(ConfigTest, TheEffectiveConfigurationCanBeReadAgain) {
  const CommandLine line =
      ParseConfig({"--model", "m", "--adapter-root", "r", "--adapter", "a=1", "--adapter", "b=2", "--threads",
                   "4", "--reflection", "--kv-cache-memory", "1GiB"});
  ASSERT_FALSE(line.exit) << line.exit->text;
  const Config again = Good({"--config", File(line.effective)});
  EXPECT_EQ(again.model, "m");
  EXPECT_EQ(again.threads, 4);
  EXPECT_TRUE(again.reflection);
  EXPECT_EQ(again.kv_cache_memory, 1ull << 30);
  EXPECT_EQ(again.listen, Config().listen);
  ASSERT_EQ(again.adapters.size(), 2u) << line.effective;
  EXPECT_EQ(again.adapters[1].path, "2");
}

TEST_F(ConfigTest, SecretsAreMasked) {
  const std::string hash(64, 'a');
  const CommandLine line = ParseConfig({"--model", "m", "--admin-key-sha256", hash, "--print-config"});
  ASSERT_FALSE(line.exit) << line.exit->text;
  EXPECT_TRUE(line.print_config);
  EXPECT_EQ(line.config.admin_key_sha256, std::vector<std::string>{hash});
  EXPECT_THAT(line.effective, Not(HasSubstr(hash)));
  EXPECT_THAT(line.effective, HasSubstr("admin-key-sha256=\"***\""));
}

TEST_F(ConfigTest, HelpAndVersion) {
  const CommandLine help = ParseConfig({"--help"});
  ASSERT_TRUE(help.exit);
  EXPECT_EQ(help.exit->code, 0);
  for (const char* flag :
       {"--model", "--listen", "--adapter", "--tenants", "--drain-timeout", "HYDRAD_LISTEN"}) {
    EXPECT_THAT(help.exit->text, HasSubstr(flag));
  }
  const CommandLine version = ParseConfig({"--version"});
  ASSERT_TRUE(version.exit);
  EXPECT_EQ(version.exit->code, 0);
  EXPECT_THAT(version.exit->text, StartsWith("hydrad 0."));
  EXPECT_THAT(version.exit->text, EndsWith("\n"));
}

}  // namespace
}  // namespace hydrad
