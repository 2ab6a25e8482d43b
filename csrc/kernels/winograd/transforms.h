// Winograd's minimal filtering F(m, 3) in one dimension; two passes make two dimensions. Included once per instruction
// set, inside its namespace, after `Vec` (see avx512.cc).
//
// F(2, 3) takes the points 0, 1, -1 and infinity. F(4, 3) takes 0, +-sqrt(1/2), +-sqrt(2) and infinity rather than the
// usual 0, +-1, +-2: the transforms then amplify rounding errors about five times less.

//
// Where each pixel is met twice, as a, b, b, c, c, d, five products give four results:
//   a g0 + b (g1 + g2) = m0 + m1 + m2 + m3           m0 = (a - c) g0
//   b (g0 + g1) + c g2 =      m1 - m2 + m3           m1 = (b + c) (g0 + g1 + g2) / 2
//   b g0 + c (g1 + g2) =      m1 - m2 - m3           m2 = (b - c) (g2 - g0) / 2,   m3 = (b - c) g1 / 2
//   c (g0 + g1) + d g2 =      m1 + m2 - m3 + m4      m4 = (d - b) g2
// The transforms only add, so that the results are as exact as those of F(2, 3).

template <Method method>
struct Transform;

template <>
struct Transform<Method::kTwo> {
  static constexpr int Pixel(int place) { return place; }
  static INLINE void Input(const Vec::T* d, Vec::T* v) {
    const Vec::T d0 = d[0], d1 = d[1], d2 = d[2], d3 = d[3];
    v[0] = d0 - d2;
    v[1] = d1 + d2;
    v[2] = d2 - d1;
    v[3] = d1 - d3;
  }
  static INLINE void Weights(const Vec::T* g, int g_step, Vec::T* u, int u_step) {
    const Vec::T even = Vec::All(0.5f) * (g[0] + g[2 * g_step]), odd = Vec::All(0.5f) * g[g_step];
    u[0] = g[0];
    u[u_step] = even + odd;
    u[2 * u_step] = even - odd;
    u[3 * u_step] = g[2 * g_step];
  }
  static INLINE void Output(const Vec::T* m, Vec::T* o) {
    o[0] = m[0] + m[1] + m[2];
    o[1] = m[1] - m[2] - m[3];
  }
};

template <>
struct Transform<Method::kFour> {
  static constexpr int Pixel(int place) { return place; }
  static constexpr float kA = 0.70710678118654752f, kB = 1.41421356237309505f;  // A^2 = 1/2, B^2 = 2
  static INLINE void Input(const Vec::T* d, Vec::T* v) {
    const Vec::T d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4];
    const Vec::T a = Vec::All(-2.f), b = Vec::All(-.5f);  // one pair vanishes at the points of the other
    const Vec::T even_a = Vec::MulAdd(a, d2, d4), odd_a = Vec::All(kA) * Vec::MulAdd(a, d1, d3);
    const Vec::T even_b = Vec::MulAdd(b, d2, d4), odd_b = Vec::All(kB) * Vec::MulAdd(b, d1, d3);
    v[0] = Vec::MulAdd(Vec::All(-2.5f), d2, d[0] + d4);
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = Vec::MulAdd(Vec::All(-2.5f), d3, d1 + d[5]);
  }
  static INLINE void Weights(const Vec::T* g, int g_step, Vec::T* u, int u_step) {
    const Vec::T g0 = g[0], g1 = g[g_step], g2 = g[2 * g_step];
    // 1 / (2 A^2 (A^2 - B^2)) = -2/3 and 1 / (2 B^2 (B^2 - A^2)) = 1/6
    const Vec::T even_a = Vec::All(-2 / 3.f) * Vec::MulAdd(Vec::All(.5f), g2, g0), odd_a = Vec::All(-2 / 3.f * kA) * g1;
    const Vec::T even_b = Vec::All(1 / 6.f) * Vec::MulAdd(Vec::All(2.f), g2, g0), odd_b = Vec::All(kB / 6.f) * g1;
    u[0] = g0;
    u[u_step] = even_a + odd_a;
    u[2 * u_step] = even_a - odd_a;
    u[3 * u_step] = even_b + odd_b;
    u[4 * u_step] = even_b - odd_b;
    u[5 * u_step] = g2;
  }
  static INLINE void Output(const Vec::T* m, Vec::T* o) {
    const Vec::T even_a = m[1] + m[2], odd_a = m[1] - m[2];
    const Vec::T even_b = m[3] + m[4], odd_b = m[3] - m[4];
    o[0] = m[0] + even_a + even_b;
    o[1] = Vec::MulAdd(Vec::All(kA), odd_a, Vec::All(kB) * odd_b);
    o[2] = Vec::MulAdd(Vec::All(.5f), even_a, Vec::All(2.f) * even_b);
    o[3] = Vec::MulAdd(Vec::All(.5f * kA), odd_a, Vec::MulAdd(Vec::All(2 * kB), odd_b, m[5]));
  }
};

template <>
struct Transform<Method::kDoubled> {
  // The pixel at each place of the six that the definition sees.
  static constexpr int Pixel(int place) { return (place + 1) / 2; }
  static INLINE void Input(const Vec::T* d, Vec::T* v) {
    const Vec::T a = d[0], b = d[1], c = d[2];
    v[0] = a - c;
    v[1] = b + c;
    v[2] = b - c;
    v[3] = d[3] - b;
  }
  static INLINE void Weights(const Vec::T* g, int g_step, Vec::T* u, int u_step) {
    const Vec::T half = Vec::All(.5f), g0 = g[0], g1 = half * g[g_step], g2 = g[2 * g_step];
    u[0] = g0;
    u[u_step] = half * (g0 + g2) + g1;
    u[2 * u_step] = half * (g2 - g0);
    u[3 * u_step] = g1;
    u[4 * u_step] = g2;
  }
  static INLINE void Output(const Vec::T* m, Vec::T* o) {
    const Vec::T sum = m[1] + m[2], difference = m[1] - m[2];
    o[0] = m[0] + (sum + m[3]);
    o[1] = difference + m[3];
    o[2] = difference - m[3];
    o[3] = m[4] + (sum - m[3]);
  }
};
