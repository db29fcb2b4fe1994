// The same __host__ __device__ functions run on both sides and must agree: to the bit where the host computes
// what the PTX says, else within a stated error. This checks the interpreter's arithmetic without a GPU.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <random>

#include "test_util.h"

namespace ptxsim_test {
namespace {

#ifdef __CUDA_ARCH__
#define ON_DEVICE(device, host) device
#else
#define ON_DEVICE(device, host) host
#endif

template <class F, class In, class Out>
__global__ void Apply(const In* in, Out* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = F()(in[3 * i], in[3 * i + 1], in[3 * i + 2]);
}

// Integers that reach the corners, then random ones.
template <class T>
std::vector<T> Integers() {
  std::vector<T> v;
  const long long corners[] = {0,
                               1,
                               2,
                               -1,
                               -2,
                               31,
                               32,
                               33,
                               63,
                               64,
                               127,
                               128,
                               255,
                               65535,
                               0x7fffffff,
                               -0x80000000ll,
                               0x123456789abcdefll};
  for (long long a : corners) {
    for (long long b : corners) v.insert(v.end(), {T(a), T(b), T(a * 3 + b)});
  }
  std::mt19937_64 random(1);
  while (v.size() < 3000) v.push_back(static_cast<T>(random()));
  return v;
}

std::vector<float> Floats() {
  std::vector<float> v;
  const float corners[] = {0.f,   -0.f,    1.f,     -1.f,         0.5f,          1.5f,         2.5f,
                           -2.5f, 3e38f,   -3e38f,  1e-38f,       1e-42f,        INFINITY,     -INFINITY,
                           NAN,   65504.f, 65520.f, 2147483648.f, -2147483648.f, 4294967040.f, 16777217.f};
  for (float a : corners) {
    for (float b : corners) v.insert(v.end(), {a, b, 1.f + a});
  }
  std::mt19937 random(2);
  std::uniform_real_distribution<float> near(-4.f, 4.f);
  while (v.size() < 4500) v.push_back(std::ldexp(near(random), int(random() % 40) - 20));
  while (v.size() % 3 != 0) v.push_back(1.f);
  return v;
}

template <class T>
bool SameBits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0 || (a != a && b != b);
}

// Runs F on the device and compares every result with the host's; `ulps` 0 means to the bit.
template <class F, class Out, class In>
void Compare(const char* name, const std::vector<In>& in, double relative = 0) {
  const int n = static_cast<int>(in.size() / 3);
  Array<In> device_in(in);
  Array<Out> device_out(static_cast<size_t>(n));
  Apply<F, In, Out><<<(n + 127) / 128, 128>>>(device_in.get(), device_out.get(), n);
  std::vector<Out> out = device_out.Read();
  for (int i = 0; i < n; ++i) {
    Out want = F()(in[3 * i], in[3 * i + 1], in[3 * i + 2]);
    double error = std::fabs(double(out[i]) - double(want));
    bool close = relative > 0 && error <= relative * std::fabs(double(want)) + 1e-37;
    ASSERT_TRUE(SameBits(out[i], want) || close)
        << name << " of " << double(in[3 * i]) << ", " << double(in[3 * i + 1]) << ", "
        << double(in[3 * i + 2]) << " is " << double(out[i]) << ", want " << double(want);
  }
  EXPECT_EQ(Findings(), "");
}

// A case: a function object with a template body, so that one line serves several types.
#define CASE(Name, body)                                       \
  struct Name {                                                \
    template <class T>                                         \
    __host__ __device__ auto operator()(T a, T b, T c) const { \
      (void)a, (void)b, (void)c;                               \
      body;                                                    \
    }                                                          \
  };

template <class T>
using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
template <class T>
using Bits = std::make_unsigned_t<T>;

CASE(Add, return T(Bits<T>(a) + Bits<T>(b)))
CASE(Subtract, return T(Bits<T>(a) - Bits<T>(b)))
CASE(MultiplyAdd, return T(Bits<T>(a) * Bits<T>(b) + Bits<T>(c)))
CASE(Divide, return (b == 0 || (std::is_signed_v<T> && b == T(-1))) ? T(0) : T(a / b))
CASE(Remainder, return (b == 0 || (std::is_signed_v<T> && b == T(-1))) ? T(0) : T(a % b))
CASE(ShiftLeft, return T(Bits<T>(a) << (unsigned(b) % (8 * sizeof(T)))))
CASE(ShiftRight, return T(a >> (unsigned(b) % (8 * sizeof(T)))))
CASE(Logic, return T((a & b) ^ (~b | c)))
CASE(MinMax, return T((a < b ? a : b) ^ (b > c ? b : c)))
CASE(Select, return a < b ? (a == c ? b : c) : (b >= c ? a : T(a + 1)))
CASE(Narrow8, return T(int8_t(a)) ^ T(uint8_t(b)))
CASE(Narrow16, return T(int16_t(a)) ^ T(uint16_t(b)))

struct MultiplyHigh {
  __host__ __device__ int32_t operator()(int32_t a, int32_t b, int32_t) const {
    return ON_DEVICE(__mulhi(a, b), int32_t((int64_t(a) * b) >> 32));
  }
  __host__ __device__ uint32_t operator()(uint32_t a, uint32_t b, uint32_t) const {
    return ON_DEVICE(__umulhi(a, b), uint32_t((uint64_t(a) * b) >> 32));
  }
  __host__ __device__ int64_t operator()(int64_t a, int64_t b, int64_t) const {
    return ON_DEVICE(__mul64hi(a, b), int64_t((__int128(a) * b) >> 64));
  }
};
struct Population {
  __host__ __device__ uint32_t operator()(uint32_t a, uint32_t b, uint32_t) const {
    return ON_DEVICE(__popc(a) * 1000 + __clz(int(b)),
                     __builtin_popcount(a) * 1000 + (b ? __builtin_clz(b) : 32));
  }
  __host__ __device__ uint64_t operator()(uint64_t a, uint64_t b, uint64_t) const {
    return ON_DEVICE(__popcll(a) * 1000 + __clzll((long long)b),
                     __builtin_popcountll(a) * 1000 + (b ? __builtin_clzll(b) : 64));
  }
};
__host__ __device__ inline uint32_t ReverseBits(uint32_t a) {
  uint32_t r = 0;
  for (int i = 0; i < 32; ++i) r |= (a >> i & 1u) << (31 - i);
  return r;
}
struct Reverse {
  __host__ __device__ uint32_t operator()(uint32_t a, uint32_t, uint32_t) const {
    return ON_DEVICE(__brev(a), ReverseBits(a));
  }
};
struct FunnelShift {
  __host__ __device__ uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    uint64_t pair = uint64_t(b) << 32 | a;
    return ON_DEVICE(__funnelshift_l(a, b, c) ^ __funnelshift_rc(a, b, c & 63),
                     uint32_t((pair << (c & 31)) >> 32) ^ uint32_t(pair >> ((c & 63) > 32 ? 32 : (c & 63))));
  }
};
__host__ __device__ inline uint32_t PermuteBytes(uint32_t a, uint32_t b, uint32_t s) {
  uint64_t bytes = uint64_t(b) << 32 | a;
  uint32_t r = 0;
  for (int n = 0; n < 4; ++n) r |= uint32_t(bytes >> (8 * (s >> (4 * n) & 7)) & 0xff) << (8 * n);
  return r;
}
struct Permute {
  __host__ __device__ uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    return ON_DEVICE(__byte_perm(a, b, c & 0x7777), PermuteBytes(a, b, c & 0x7777));
  }
};
struct BitFields {
  __host__ __device__ uint32_t operator()(uint32_t a, uint32_t b, uint32_t c) const {
    uint32_t from = c & 31, length = c >> 8 & 31, mask = (1u << length) - 1;
#ifdef __CUDA_ARCH__
    uint32_t field, merged;
    int32_t extended;
    asm("bfe.u32 %0, %1, %2, %3;" : "=r"(field) : "r"(a), "r"(from), "r"(length));
    asm("bfe.s32 %0, %1, %2, %3;" : "=r"(extended) : "r"(a), "r"(from), "r"(length));
    asm("bfi.b32 %0, %1, %2, %3, %4;" : "=r"(merged) : "r"(a), "r"(b), "r"(from), "r"(length));
    return field + 3 * uint32_t(extended) + 5 * merged;
#else
    uint32_t field = a >> from & mask;
    uint32_t top = from + length - 1 < 31 ? from + length - 1 : 31;
    uint32_t available = 32 - from < length ? 32 - from : length,
             have = available >= 32 ? ~0u : (1u << available) - 1;
    uint32_t extended = length != 0 && (a >> top & 1) ? field | ~have : field;
    uint32_t merged = (b & ~(mask << from)) | (a & mask) << from;
    return field + 3 * extended + 5 * merged;
#endif
  }
};

template <class T>
class IntegerTest : public ::testing::Test {};
using IntegerTypes = ::testing::Types<int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t>;
TYPED_TEST_SUITE(IntegerTest, IntegerTypes);

TYPED_TEST(IntegerTest, AgreesWithTheHost) {
  using T = TypeParam;
  std::vector<T> in = Integers<T>();
  Compare<Add, T>("add", in);
  Compare<Subtract, T>("sub", in);
  Compare<MultiplyAdd, T>("mad", in);
  Compare<Divide, T>("div", in);
  Compare<Remainder, T>("rem", in);
  Compare<ShiftLeft, T>("shl", in);
  Compare<ShiftRight, T>("shr", in);
  Compare<Logic, T>("logic", in);
  Compare<MinMax, T>("min, max", in);
  Compare<Select, T>("setp, selp", in);
  Compare<Narrow8, T>("8-bit conversions", in);
  Compare<Narrow16, T>("16-bit conversions", in);
}

TEST(BitsTest, AgreeWithTheHost) {
  Compare<MultiplyHigh, int32_t>("mul.hi.s32", Integers<int32_t>());
  Compare<MultiplyHigh, uint32_t>("mul.hi.u32", Integers<uint32_t>());
  Compare<MultiplyHigh, int64_t>("mul.hi.s64", Integers<int64_t>());
  Compare<Population, uint32_t>("popc, clz", Integers<uint32_t>());
  Compare<Population, uint64_t>("popc, clz 64", Integers<uint64_t>());
  Compare<Reverse, uint32_t>("brev", Integers<uint32_t>());
  Compare<FunnelShift, uint32_t>("shf", Integers<uint32_t>());
  Compare<Permute, uint32_t>("prmt", Integers<uint32_t>());
  Compare<BitFields, uint32_t>("bfe, bfi", Integers<uint32_t>());
}

struct FloatAdd {
  __host__ __device__ float operator()(float a, float b, float) const {
    return ON_DEVICE(__fadd_rn(a, b), a + b);
  }
};
struct FloatMul {
  __host__ __device__ float operator()(float a, float b, float) const {
    return ON_DEVICE(__fmul_rn(a, b), a * b);
  }
};
struct FloatFma {
  __host__ __device__ float operator()(float a, float b, float c) const { return fmaf(a, b, c); }
};
struct FloatDiv {
  __host__ __device__ float operator()(float a, float b, float) const {
    return ON_DEVICE(__fdiv_rn(a, b), a / b);
  }
};
struct FloatSqrt {
  __host__ __device__ float operator()(float a, float, float) const { return sqrtf(a); }
};
struct FloatMinMax {
  __host__ __device__ float operator()(float a, float b, float c) const {
    return a == 0 && b == 0 ? 0.f : fminf(fmaxf(a, c), b) + 0.f; /* either zero becomes +0 */
  }
};
struct FloatCompare {
  __host__ __device__ float operator()(float a, float b, float c) const {
    return float((a < b) + 2 * (a <= c) + 4 * (a == b) + 8 * (b != c) + 16 * !(a > c) + 32 * !(b >= a) +
                 64 * isnan(a) + 128 * isinf(b));
  }
};
struct FloatRound {
  __host__ __device__ float operator()(float a, float b, float c) const {
    return a != a || b != b || c != c ? 0.f : truncf(a) * 0.5f + floorf(b) - ceilf(c) + rintf(a);
  }
};
struct ToInt {
  __host__ __device__ int operator()(float a, float, float) const {
    return ON_DEVICE(__float2int_rz(a), a != a               ? 0
                                        : a >= 2147483648.f  ? 0x7fffffff
                                        : a <= -2147483648.f ? int(0x80000000)
                                                             : int(a));
  }
};
struct ToUnsigned {
  __host__ __device__ unsigned operator()(float a, float, float) const {
    return ON_DEVICE(__float2uint_rn(a), a != a || a <= 0           ? 0u
                                         : rintf(a) >= 4294967296.f ? ~0u
                                                                    : unsigned(rintf(a)));
  }
};
struct FromInt {
  __host__ __device__ float operator()(int a, int b, int) const { return float(a) + float(unsigned(b)); }
};
struct FromLong {
  __host__ __device__ float operator()(int64_t a, int64_t b, int64_t) const {
    return float(a) + float(uint64_t(b));
  }
};
struct RoundDown {
  __host__ __device__ float operator()(float a, float b, float) const {
#ifdef __CUDA_ARCH__
    return __fadd_rd(a, b);
#else
    double exact = double(a) + b;
    float f = float(exact);
    return double(f) > exact ? nextafterf(f, -INFINITY) : f;
#endif
  }
};
struct DoubleMath {
  __host__ __device__ double operator()(double a, double b, double c) const {
    return fma(a, b, c) / (1 + fabs(c)) + sqrt(fabs(a));
  }
};

TEST(FloatTest, AgreesWithTheHostToTheBit) {
  std::vector<float> in = Floats();
  Compare<FloatAdd, float>("add", in);
  Compare<FloatMul, float>("mul", in);
  Compare<FloatFma, float>("fma", in);
  Compare<FloatDiv, float>("div", in);
  Compare<FloatSqrt, float>("sqrt", in);
  Compare<FloatMinMax, float>("min, max", in);
  Compare<FloatCompare, float>("comparisons", in);
  Compare<FloatRound, float>("rounding", in);
  Compare<ToInt, int>("cvt.rzi.s32.f32", in);
  Compare<ToUnsigned, unsigned>("cvt.rni.u32.f32", in);
  Compare<FromInt, float>("cvt.rn.f32.s32", Integers<int>());
  Compare<FromLong, float>("cvt.rn.f32.s64", Integers<int64_t>());
  Compare<DoubleMath, double>("double", std::vector<double>(in.begin(), in.end()));
}

TEST(FloatTest, RoundsInADirection) {
  std::vector<float> in;
  for (float f : Floats())
    in.push_back(std::isfinite(f) && std::fabs(f) < 1e30f && std::fabs(f) > 1e-6f ? f : 1.25f);
  Compare<RoundDown, float>("add.rm", in);
}

struct Exp {
  __host__ __device__ float operator()(float a, float, float) const { return expf(a / 16); }
};
struct FastExp {
  __host__ __device__ float operator()(float a, float, float) const {
    return ON_DEVICE(__expf(a / 16), expf(a / 16));
  }
};
struct Log {
  __host__ __device__ float operator()(float a, float, float) const { return logf(fabsf(a) + 1.5f); }
};
struct SinCos {
  __host__ __device__ float operator()(float a, float b, float) const {
    return 3 + sinf(a * 100) * 0.5f + cosf(b * 3e4f) * 0.5f;
  }
};
struct Tanh {
  __host__ __device__ float operator()(float a, float, float) const { return tanhf(a); }
};
struct Rsqrt {
  __host__ __device__ float operator()(float a, float, float) const {
    return ON_DEVICE(rsqrtf(fabsf(a) + 1e-3f), 1 / sqrtf(fabsf(a) + 1e-3f));
  }
};
struct Power {
  __host__ __device__ float operator()(float a, float b, float) const {
    return powf(fabsf(a) + 0.5f, b / 64);
  }
};

// The device's library and the host's agree within a few units of the last place (of 2^-23).
TEST(FloatTest, FunctionsAreClose) {
  std::vector<float> in;
  for (float f : Floats())
    in.push_back(std::isfinite(f) && std::fabs(f) < 1e3f && std::fabs(f) > 1e-6f ? f : 0.75f);
  const double ulp = std::ldexp(1.0, -23);
  Compare<Exp, float>("expf", in, 4 * ulp);
  Compare<FastExp, float>("__expf", in, 128 * ulp);
  Compare<Log, float>("logf", in, 4 * ulp);
  Compare<SinCos, float>("sinf, cosf", in, 4 * ulp);
  Compare<Tanh, float>("tanhf", in, 4 * ulp);
  Compare<Rsqrt, float>("rsqrtf", in, 4 * ulp);
  Compare<Power, float>("powf", in, 32 * ulp);
}

struct ToBFloat {
  __host__ __device__ float operator()(float a, float b, float) const {
    __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
    return a != a || b != b ? 0.f : __bfloat162float(__float2bfloat16(a)) + __bfloat162float(pair.y) * 0.25f;
  }
};
struct ToHalf {
  __host__ __device__ float operator()(float a, float b, float) const {
    __half2 pair = __floats2half2_rn(a, b);
    return a != a || b != b ? 0.f : __half2float(__float2half(a)) + __half2float(pair.y) * 0.25f;
  }
};
struct BFloatMath {
  __host__ __device__ float operator()(float a, float b, float c) const {
    __nv_bfloat16 x = __float2bfloat16(a), y = __float2bfloat16(b), z = __float2bfloat16(c);
    float sum = __bfloat162float(x) + __bfloat162float(y),
          product = __bfloat162float(x) * __bfloat162float(z);
    return ON_DEVICE(__bfloat162float(__hadd(x, y)) + __bfloat162float(__hmul(x, z)),
                     __bfloat162float(__float2bfloat16(sum)) + __bfloat162float(__float2bfloat16(product)));
  }
};
struct HalfFma {
  __host__ __device__ float operator()(float a, float b, float c) const {
    __half x = __float2half(a), y = __float2half(b), z = __float2half(c);
#ifdef __CUDA_ARCH__
    return __half2float(__hfma(x, y, z));
#else
    return __half2float(
        __double2half(std::fma(double(__half2float(x)), double(__half2float(y)), double(__half2float(z)))));
#endif
  }
};
struct HalfTruncate {
  __host__ __device__ float operator()(float a, float, float) const {
    return __half2float(__float2half_rz(a));
  }
};

TEST(HalfTest, AgreesWithTheHostToTheBit) {
  std::vector<float> in = Floats();
  Compare<ToBFloat, float>("cvt.rn.bf16.f32", in);
  Compare<ToHalf, float>("cvt.rn.f16.f32", in);
  Compare<HalfTruncate, float>("cvt.rz.f16.f32", in);
  std::vector<float> small;
  for (float f : in) small.push_back(std::isfinite(f) && std::fabs(f) < 100 ? f : 0.3f);
  Compare<BFloatMath, float>("bf16 arithmetic", small);
  Compare<HalfFma, float>("fma.rn.f16", small);
}

}  // namespace
}  // namespace ptxsim_test
