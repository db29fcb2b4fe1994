// Any text as the file of tenants.
#include "server/admission/admission.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)hydrad::ParseTenants({reinterpret_cast<const char*>(data), size});
  return 0;
}
