// README's "What it does", row by row, through the running daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/e2e/greedy.h"
#include "tests/e2e/readme_rows.h"

namespace hydrad {

RowsDaemon::RowsDaemon(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"--model",           "deploy/models/tiny",
                                        "--listen",          "127.0.0.1:0",
                                        "--admin-listen",    "127.0.0.1:0",
                                        "--metrics-listen",  "127.0.0.1:0",
                                        "--lame-duck",       "0",
                                        "--threads",         "2",
                                        "--weights",         "f32",
                                        "--kv-cache-memory", "1MiB",
                                        "--adapter-root",    "deploy/adapters/tiny"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  process_ = std::make_unique<DaemonProcess>(arguments);
  inference_ = v1::Inference::NewStub(Channel(process_->Address("inference")));
  admin_ = v1::Admin::NewStub(Channel(process_->Address("admin")));
}

RowsDaemon::~RowsDaemon() = default;

v1::GenerateResult RowsDaemon::Ask(const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  v1::GenerateResult result;
  const grpc::Status status = inference_->GenerateUnary(&context, request, &result);
  EXPECT_TRUE(status.ok()) << status.error_message();
  if (result.choices().empty()) result.add_choices();
  return result;
}

v1::GenerateRequest RowRequest(int tokens, const std::string& adapter) {
  v1::GenerateRequest request = GreedyRequest(tokens);
  request.set_text("ROMEO: What light through yonder");
  request.set_adapter(adapter);
  request.mutable_output()->set_token_ids(true);
  request.mutable_output()->set_logprobs(20);
  return request;
}

std::vector<int> Ids(const v1::Chunk& choice) {
  return {choice.token_ids().begin(), choice.token_ids().end()};
}

namespace {

// Rows that tests of their own prove.
struct Elsewhere {
  const char *row, *test;
};
constexpr Elsewhere kElsewhere[] = {{"base models", "tests/e2e/golden_daemon_test.cc"},
                                    {"adapters", "tests/e2e/golden_daemon_test.cc"},
                                    {"chat", "tests/e2e/chat_test.py"},
                                    {"mixing", "tests/e2e/golden_daemon_test.cc"},
                                    {"life cycle", "tests/e2e/golden_daemon_test.cc"},  // first use, tiers
                                    {"life cycle", "tests/e2e/kill_test.py"},
                                    {"structured output", "tests/e2e/answer_form_test.cc"},
                                    {"operations", "tests/e2e/daemon_test.cc"},  // graceful drain
                                    {"operations", "tests/e2e/tls_test.cc"},
                                    {"operations", "tests/metrics_e2e/metrics_e2e_test.py"}};

std::vector<ReadmeRow> AllRows() {
  std::vector<ReadmeRow> rows = SamplingRows();
  for (const auto& more : {AdapterRows(), ServiceRows()}) rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

// The first column of the table under "What it does".
std::set<std::string> RowsOfReadme() {
  std::set<std::string> rows;
  std::ifstream file("README.md");
  bool here = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("## ")) here = line == "## What it does";
    if (!here || !line.starts_with("| ")) continue;
    const std::string row = line.substr(2, line.find(" |", 2) - 2);
    if (!row.empty() && row[0] != '|') rows.insert(row);
  }
  return rows;
}

TEST(ReadmeTest, EveryRowIsProven) {
  std::set<std::string> proven;
  for (const ReadmeRow& row : AllRows()) proven.insert(row.row);
  for (const Elsewhere& other : kElsewhere) {
    EXPECT_TRUE(std::filesystem::exists(other.test)) << other.test;
    proven.insert(other.row);
  }
  EXPECT_EQ(proven, RowsOfReadme());
}

class ReadmeRowTest : public testing::TestWithParam<ReadmeRow> {
 protected:
  static void SetUpTestSuite() {
    daemon_ = std::make_unique<RowsDaemon>(std::vector<std::string>{
        "--reflection", "--adapter", "sql=sql", "--adapter", "shakespeare=shakespeare", "--adapter",
        "domains=domains", "--adapter", "mixed=mixed-moa"});
  }
  static void TearDownTestSuite() { daemon_.reset(); }

  static inline std::unique_ptr<RowsDaemon> daemon_;
};

TEST_P(ReadmeRowTest, Holds) { GetParam().check(*daemon_); }

std::string NameOf(const testing::TestParamInfo<ReadmeRow>& info) {
  std::string name = info.param.row + "_" + info.param.what;
  std::ranges::replace_if(
      name, [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Rows, ReadmeRowTest, testing::ValuesIn(AllRows()), NameOf);

}  // namespace
}  // namespace hydrad
