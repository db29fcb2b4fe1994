// ptxsim_check a.ptx b.ptx ...: tells whether the interpreter knows every instruction of every kernel in PTX
// files (nvcc -ptx), without running any.
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "core/module.h"

namespace {

// How many kernels of the file cannot be built.
int CheckFile(const char* path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return std::fprintf(stderr, "%s: cannot be read\n", path), 1;
  int bad = 0;
  try {
    ptxsim::Module module(text.str());
    for (const std::string& name : module.KernelNames()) {
      try {
        const ptxsim::Kernel* k = module.FindKernel(name);
        std::printf("%s: %s: %zu instructions, %u bytes of registers per warp\n", path, k->demangled.c_str(),
                    k->code.size(), k->register_bytes);
      } catch (const ptxsim::PtxError& e) {
        std::printf("%s: %s: %s\n", path, name.c_str(), e.what());
        ++bad;
      }
    }
  } catch (const ptxsim::PtxError& e) {
    std::printf("%s: %s\n", path, e.what());
    ++bad;
  }
  return bad;
}

}  // namespace

int main(int argc, char** argv) {
  int bad = 0;
  for (int n = 1; n < argc; ++n) bad += CheckFile(argv[n]);
  return bad == 0 ? 0 : 1;
}
