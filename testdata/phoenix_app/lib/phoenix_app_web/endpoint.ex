defmodule PhoenixAppWeb.Endpoint do
  use Phoenix.Endpoint, otp_app: :phoenix_app

  @websocket [
    connect_info: [:x_headers, :uri],
    error_handler: {PhoenixAppWeb.UserSocket, :handle_error, []}
  ]

  # A poll waits no longer than this for messages, so that a client soon notices that its session has ended; at /plain it waits for ten
  # seconds, as with any application that does not say.
  @longpoll [connect_info: [:x_headers, :uri], window_ms: 2_000]

  socket "/socket", PhoenixAppWeb.UserSocket, websocket: @websocket, longpoll: @longpoll, auth_token: true
  socket "/plain", PhoenixAppWeb.UserSocket, websocket: @websocket, longpoll: [connect_info: [:x_headers, :uri]]
  socket "/idle", PhoenixAppWeb.UserSocket, websocket: [timeout: 1_000] ++ @websocket

  plug Plug.Parsers, parsers: [:json], json_decoder: Jason
  plug PhoenixAppWeb.Router
end
