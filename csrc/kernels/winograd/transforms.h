// Winograd's minimal filtering F(m, 3) in one dimension; two passes make two dimensions. Included once per instruction
// set, inside its namespace, after `Vec` (see avx512.cc).
//
// F(2, 3) takes the points 0, 1, -1 and infinity. F(4, 3) takes 0, +-sqrt(1/2), +-sqrt(2) and infinity rather than the
// usual 0, +-1, +-2: the transforms then amplify rounding errors about five times less.

template <int Tile>
struct Transform;

template <>
struct Transform<2> {
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
struct Transform<4> {
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
