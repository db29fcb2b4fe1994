#include "server/base/pages.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <vector>

namespace hydrad {
namespace {

// Of this process.
size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

TEST(Pages, BlocksAreAlignedAndUsable) {
  for (const size_t bytes :
       {size_t{0}, size_t{1}, kPagesFrom - 1, kPagesFrom, kPagesFrom + 1, size_t{5} << 20}) {
    for (const bool huge : {false, true}) {
      void* const block = TakePages(bytes, huge);
      ASSERT_NE(block, nullptr) << bytes;
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0u);
      std::memset(block, 1, bytes);
      GivePages(block, bytes);
    }
    EXPECT_GE(TakenBytes(bytes), bytes);
    EXPECT_LT(TakenBytes(bytes), bytes + 4096);
  }
  EXPECT_EQ(TakenBytes(kPagesFrom + 1) % 4096, 0u);
  EXPECT_EQ(TakePages(SIZE_MAX), nullptr);
  EXPECT_THROW(MakePages(SIZE_MAX), std::bad_alloc);
}

// Of many blocks that come and go in sizes that differ, nothing stays but those that are held.
TEST(Pages, WhatIsGivenBackIsGoneAtOnce) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer keeps memory of its own for every byte that was touched";
#endif
  constexpr size_t kBytes = 200'000, kBlocks = 500;
  const auto fill = [](Pages& block) { std::memset(block.get(), 1, block.get_deleter().bytes); };
  const size_t before = ResidentBytes();
  {
    std::vector<Pages> blocks;
    for (size_t i = 0; i < kBlocks; ++i) fill(blocks.emplace_back(MakePages(kBytes + 300 * i)));
    EXPECT_GE(ResidentBytes(), before + kBytes * kBlocks);
    for (size_t i = 0; i < kBlocks; i += 2) blocks[i].reset();
    EXPECT_LE(ResidentBytes(), before + (kBytes + 300 * kBlocks + 4096) * kBlocks / 2 + (8 << 20));
  }
  EXPECT_LE(ResidentBytes(), before + (8 << 20)) << "of " << kBytes * kBlocks;
}

}  // namespace
}  // namespace hydrad
