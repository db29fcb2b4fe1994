#include "client/hydractl/text_table.h"

#include <gtest/gtest.h>

#include <sstream>

namespace hydrad {
namespace {

TEST(Table, ColumnsAreAsWideAsTheirWidestCell) {
  Table table({"A", "LONG", "Z"});
  table.Add({"wide cell", "", "x"});
  table.Add({"", "b", ""});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(),
            "A          LONG  Z\n"
            "wide cell  -     x\n"
            "-          b     -\n");
}

TEST(Table, NoRowsIsTheHeader) {
  std::ostringstream out;
  Table({"NAME"}).Print(out);
  EXPECT_EQ(out.str(), "NAME\n");
}

}  // namespace
}  // namespace hydrad
