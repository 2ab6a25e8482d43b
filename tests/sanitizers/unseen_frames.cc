// XLA's compiler registers the frames of what it compiles. To look them up GCC's unwinder allocates memory while it holds
// a lock, and if the address sanitizer unwinds at every allocation it then waits for that lock for ever. Unregistered, they
// only end a stack: none of our code is called from such frames, and no exception passes them.
extern "C" {
void __register_frame(void*) {}
void __deregister_frame(void*) {}
}
