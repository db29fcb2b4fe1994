#include "server/adapters/store/journal.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <random>
#include <string>

#include "tests/fakes/fake_log_directory.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

AdapterInfo Wanted(const std::string& name, uint64_t generation) {
  AdapterInfo info;
  info.name = name;
  info.path = "path of " + name;
  info.digest = fmt::format("sha256:{}", generation);
  info.generation = generation;
  info.pinned = generation % 2 == 0;
  info.family = "lora";
  info.host_bytes = 100 * generation;
  info.max_rank = 8;
  info.experts = 3;
  info.targets = {"q_proj", "down_proj"};
  info.lenient = generation % 3 == 0;
  if (info.lenient) info.warnings = {"one thing", "another"};
  return info;
}

// All that is to survive, as text.
std::string Text(const JournalState& state) {
  std::string text = fmt::format("last {}\n", state.last_generation);
  for (const auto& [name, i] : state.adapters) {
    text += fmt::format("{} {} {} {} {} {} {} {} {} {} {} {}\n", name, i.path, i.digest, i.generation,
                        i.pinned, i.family, i.host_bytes, i.max_rank, i.experts, fmt::join(i.targets, ","),
                        i.lenient, fmt::join(i.warnings, ","));
  }
  for (const AnsweredRequest& r : state.answered) {
    text += fmt::format("{} {} {} {}\n", r.id, r.what, r.name, r.generation);
  }
  return text;
}

std::unique_ptr<Journal> Open(const FakeLogDirectory& directory) {
  auto journal = Journal::Open(std::make_unique<FakeLogDirectory>(directory));
  EXPECT_TRUE(journal.ok()) << journal.status();
  return journal.ok() ? *std::move(journal) : nullptr;
}

// A change of some kind.
JournalRecord Change(std::mt19937& random, uint64_t number) {
  const std::string name(1, static_cast<char>('a' + random() % 5));
  JournalRecord record;
  if (random() % 3 == 0) {
    record.removed = name;
  } else {
    record.wanted = Wanted(name, number);
  }
  if (random() % 2 == 0) record.answered = AnsweredRequest{fmt::format("id{}", number), "what", name, number};
  return record;
}

TEST(Journal, BeginsEmptyAndKeepsWhatItIsTold) {
  FakeLogDirectory directory;
  EXPECT_EQ(Text(Open(directory)->opened()), "last 0\n");
  JournalState expected;
  {
    const auto journal = Open(directory);
    std::mt19937 random(1);
    for (uint64_t i = 1; i <= 50; ++i) {
      const JournalRecord record = Change(random, i);
      ASSERT_TRUE(journal->Append(record).ok());
      Apply(record, &expected);
    }
  }
  EXPECT_EQ(Text(Open(directory)->opened()), Text(expected));
  EXPECT_FALSE(expected.adapters.empty());
}

// Wherever the file ends, it is the state after a whole number of records, and goes on from there.
TEST(Journal, EveryTornTailCountsForNothing) {
  std::string file = EncodeHeader();
  std::vector<size_t> ends = {file.size()};
  std::vector<std::string> states = {Text({})};
  JournalState state;
  std::mt19937 random(2);
  for (uint64_t i = 1; i <= 6; ++i) {
    const JournalRecord record = Change(random, i);
    file += EncodeRecord(record);
    Apply(record, &state);
    ends.push_back(file.size());
    states.push_back(Text(state));
  }
  for (size_t size = 0; size <= file.size(); ++size) {
    FakeLogDirectory directory;
    directory.state().files[Journal::kFile] = file.substr(0, size);
    const auto journal = Open(directory);
    ASSERT_NE(journal, nullptr) << size;
    size_t whole = 0;
    while (whole + 1 < ends.size() && ends[whole + 1] <= size) ++whole;
    EXPECT_EQ(Text(journal->opened()), states[whole]) << size;
    ASSERT_TRUE(journal->Append({.wanted = Wanted("z", 99)}).ok());
    EXPECT_EQ(Open(directory)->opened().adapters.count("z"), 1u) << size;
  }
}

TEST(Journal, AFileThatGrewBeforeItsDataCameIsTorn) {
  FakeLogDirectory directory;
  ASSERT_TRUE(Open(directory)->Append({.wanted = Wanted("a", 1)}).ok());
  directory.state().files[Journal::kFile] += std::string(500, '\0');
  EXPECT_EQ(Open(directory)->opened().adapters.size(), 1u);
}

// One flipped bit before the last record is never taken for a torn tail, and never read over.
TEST(Journal, DamageBeforeTheEndIsTold) {
  std::string file = EncodeHeader();
  const size_t begin = file.size();
  for (uint64_t i = 1; i <= 3; ++i) file += EncodeRecord({.wanted = Wanted(std::string(1, 'a' + i), i)});
  const size_t last = file.size() - EncodeRecord({.wanted = Wanted("d", 3)}).size();
  for (size_t at = begin; at < last; at += 3) {
    std::string bad = file;
    bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
    size_t whole = 0;
    EXPECT_EQ(Replay(bad, &whole).status().code(), absl::StatusCode::kDataLoss) << at;
  }
}

TEST(Journal, OtherVersionsAndOtherFilesAreRefused) {
  size_t whole = 0;
  EXPECT_THAT(std::string(Replay("hydrad adapters journal 2\n...", &whole).status().message()),
              HasSubstr("another version"));
  EXPECT_THAT(std::string(Replay("something else", &whole).status().message()), HasSubstr("no journal"));
  FakeLogDirectory directory;
  directory.state().files[Journal::kFile] = "hydrad adapters journal 2\n";
  EXPECT_EQ(Journal::Open(std::make_unique<FakeLogDirectory>(directory)).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(Journal, IsRewrittenWhenItIsMostlyHistory) {
  FakeLogDirectory directory;
  JournalState expected;
  {
    const auto journal = Open(directory);
    for (uint64_t i = 1; i <= 5000; ++i) {
      JournalRecord record{.wanted = Wanted("a", i)};
      if (i % 3 == 0) record.answered = AnsweredRequest{fmt::format("id{}", i), "load a", "a", i};
      ASSERT_TRUE(journal->Append(record).ok());
      Apply(record, &expected);
    }
    const JournalRecord last{.removed = "a"};
    ASSERT_TRUE(journal->Append(last).ok());
    Apply(last, &expected);
  }
  EXPECT_LT(directory.state().files[Journal::kFile].size(), 600'000u);
  EXPECT_EQ(expected.answered.size(), JournalState::kMostAnswered);
  EXPECT_EQ(Text(Open(directory)->opened()), Text(expected)) << "the numbers that were given too";
  EXPECT_EQ(expected.last_generation, 5000u);
}

// The n-th call of the directory fails, for every n: what was answered OK is there, what was not is not, or
// the journal takes nothing any more.
TEST(Journal, SurvivesEveryFailureOfTheDisk) {
  for (const bool recovers : {false, true}) {
    for (const size_t torn : {size_t{0}, size_t{5}, size_t{100000}}) {
      for (int n = 1; n <= 12; ++n) {
        FakeLogDirectory directory;
        directory.state().fail_call = n;
        directory.state().recovers = recovers;
        directory.state().torn = torn;
        JournalState answered;
        auto journal = Journal::Open(std::make_unique<FakeLogDirectory>(directory));
        std::string maybe;
        for (uint64_t i = 1; journal.ok() && i <= 8; ++i) {
          const JournalRecord record{.wanted = Wanted(std::string(1, static_cast<char>('a' + i)), i)};
          if ((*journal)->Append(record).ok()) Apply(record, &answered);
        }
        directory.state().fail_call = 0;
        const auto after = Open(directory);
        ASSERT_NE(after, nullptr);
        for (const auto& [name, info] : answered.adapters) {
          EXPECT_EQ(after->opened().adapters.count(name), 1u) << n << " lost " << name;
        }
        // A record whose writing failed may be there only if it could not be taken back.
        EXPECT_LE(after->opened().adapters.size(), answered.adapters.size() + (recovers ? 0 : 1)) << n;
      }
    }
  }
}

TEST(LogDirectory, KeepsTwoProcessesApartAndIsMadePrivate) {
  const std::string path = testing::TempDir() + fmt::format("/hydrad_state_{}", getpid());
  auto first = OpenLogDirectory(path);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(std::string(OpenLogDirectory(path).status().message()), HasSubstr("used by another process"));
  EXPECT_EQ(*(*first)->Read("file"), "");
  EXPECT_TRUE((*first)->Append("file", "one ").ok());
  EXPECT_TRUE((*first)->Append("file", "two").ok());
  EXPECT_EQ(*(*first)->Read("file"), "one two");
  EXPECT_TRUE((*first)->Truncate("file", 3).ok());
  EXPECT_EQ(*(*first)->Read("file"), "one");
  EXPECT_TRUE((*first)->Replace("file", "three").ok());
  EXPECT_EQ(*(*first)->Read("file"), "three");
  first->reset();
  EXPECT_TRUE(OpenLogDirectory(path).ok());
  EXPECT_EQ(OpenLogDirectory("/no/such/place/at/all").status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace hydrad
