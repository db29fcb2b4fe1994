#include <iostream>

#include "client/hydractl/hydractl.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  return hydrad::RunHydractl({argv + 1, argv + argc}, std::cin, std::cout, std::cerr);
}
