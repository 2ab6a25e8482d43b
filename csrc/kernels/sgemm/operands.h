// What a step reads and writes. Included once per instruction set, inside its namespace, after `Vec`.

// Elements of `a`, one for each row of a step, in all lanes. Two pointers and four distances give the addresses of 16
// rows; left alone, the compiler makes a distance of each row, which are more than there are registers.
struct Elements {
  const char *upper, *lower;        // at the rows 0 and 8
  int64_t one, three, five, seven;  // rows, in bytes

  INLINE Elements(const float* a, int64_t row) : upper(reinterpret_cast<const char*>(a)) {
    one = row * static_cast<int64_t>(sizeof(float));
    three = 3 * one, five = 5 * one, seven = 7 * one;
    lower = upper + 8 * one;
  }
  INLINE void Next() { upper += sizeof(float), lower += sizeof(float); }

  INLINE Vec::T At(int row) const {
    const char* from = row < 8 ? upper : lower;
    // Tells the compiler that numbers from here on are read.
    const auto& numbers = *reinterpret_cast<const char(*)[]>(from);
    Vec::T all;
    switch (row % 8) {
      case 0: asm("vbroadcastss (%1), %0" : "=v"(all) : "r"(from), "m"(numbers)); break;
      case 1: asm("vbroadcastss (%1,%2), %0" : "=v"(all) : "r"(from), "r"(one), "m"(numbers)); break;
      case 2: asm("vbroadcastss (%1,%2,2), %0" : "=v"(all) : "r"(from), "r"(one), "m"(numbers)); break;
      case 3: asm("vbroadcastss (%1,%2), %0" : "=v"(all) : "r"(from), "r"(three), "m"(numbers)); break;
      case 4: asm("vbroadcastss (%1,%2,4), %0" : "=v"(all) : "r"(from), "r"(one), "m"(numbers)); break;
      case 5: asm("vbroadcastss (%1,%2), %0" : "=v"(all) : "r"(from), "r"(five), "m"(numbers)); break;
      case 6: asm("vbroadcastss (%1,%2,2), %0" : "=v"(all) : "r"(from), "r"(three), "m"(numbers)); break;
      default: asm("vbroadcastss (%1,%2), %0" : "=v"(all) : "r"(from), "r"(seven), "m"(numbers)); break;
    }
    return all;
  }
};

template <int Columns>
struct Lanes {  // of the vectors of a step, those that the result has
  explicit INLINE Lanes(int64_t columns) : last(Vec::First(columns - (Columns - 1) * Vec::kLanes)),
                                           full(columns >= Columns * Vec::kLanes) {}
  INLINE Vec::T Load(const float* from, int j) const {
    return full || j + 1 < Columns ? Vec::Load(from + j * Vec::kLanes) : Vec::Load(from + j * Vec::kLanes, last);
  }
  INLINE void Store(float* to, int j, Vec::T value) const {
    full || j + 1 < Columns ? Vec::Store(to + j * Vec::kLanes, value) : Vec::Store(to + j * Vec::kLanes, value, last);
  }
  Vec::Mask last;
  bool full;
};
