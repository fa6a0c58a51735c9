/** The symbol table of the C library (csrc/umpath.h): the only place where its signatures are told to Deno. */
export const SYMBOLS = {
  um_layout: { parameters: ["buffer", "u32"], result: "i32" },

  um_ring_setup: { parameters: ["u32", "u32", "u32", "buffer"], result: "i32" },
  um_ring_turn: { parameters: ["buffer", "u32", "u32", "u32", "i32"], result: "i32" },
  um_ring_register: { parameters: ["buffer", "u32", "buffer", "u32"], result: "i32" },
  um_ring_close: { parameters: ["buffer"], result: "i32" },

  um_map: { parameters: ["u64", "u32"], result: "pointer" },
  um_map_file: { parameters: ["i32", "u64", "u64", "u32"], result: "pointer" },
  um_unmap: { parameters: ["pointer", "u64"], result: "i32" },
  um_discard: { parameters: ["pointer", "u64", "u64"], result: "i32" },
  um_crc32c: { parameters: ["u32", "buffer", "u64"], result: "u32" },
  um_crc32c_part: { parameters: ["buffer", "u32", "u32"], result: "u32" },

  um_tcp_connect: { parameters: ["buffer", "u32", "buffer", "buffer"], result: "i32" },
  um_tcp_listen: { parameters: ["buffer", "u32", "u32"], result: "i32" },
  um_tcp_accept: { parameters: ["i32"], result: "i32" },
  um_socket_name: { parameters: ["i32", "u32", "buffer", "u32"], result: "i32" },
  um_socket_connected: { parameters: ["i32"], result: "i32" },
  um_socket_send: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  um_socket_receive: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  um_socket_shutdown: { parameters: ["i32"], result: "i32" },
  um_socket_close: { parameters: ["i32", "u32"], result: "i32" },
  um_socket_user_timeout: { parameters: ["i32", "u32"], result: "i32" },
  um_poll: { parameters: ["buffer", "u32", "i32"], result: "i32", nonblocking: true },

  um_eventfd: { parameters: [], result: "i32" },
  um_eventfd_signal: { parameters: ["i32"], result: "i32" },
  um_eventfd_drain: { parameters: ["i32"], result: "i32" },
  um_page_bytes: { parameters: [], result: "i32" },
  um_open: { parameters: ["buffer", "u32"], result: "i32" },
  um_open_exclusive: { parameters: ["buffer"], result: "i32" },
  um_close: { parameters: ["i32"], result: "i32" },
  um_io_flusher: { parameters: [], result: "i32" },
  um_thread_name: { parameters: ["buffer"], result: "i32" },
  um_process_alive: { parameters: ["i32"], result: "i32" },

  um_file_open: { parameters: ["buffer", "u32", "u32"], result: "i32" },
  um_file_lock: { parameters: ["i32", "u32"], result: "i32" },
  um_file_bytes: { parameters: ["i32"], result: "i64" },
  um_file_trial: { parameters: ["i32", "u32"], result: "i32" },
  um_file_truncate: { parameters: ["i32", "u64"], result: "i32" },
  um_file_sync: { parameters: ["i32"], result: "i32", nonblocking: true },

  um_socket_reset: { parameters: ["i32"], result: "i32" },
  um_socket_window: { parameters: ["i32", "u32"], result: "i32" },

  um_ublk_control: {
    parameters: ["i32", "u32", "u32", "u32", "buffer", "u32", "u64"],
    result: "i32",
    nonblocking: true,
  },
} as const;
