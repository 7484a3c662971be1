defmodule PhoenixAppWeb.Endpoint do
  use Phoenix.Endpoint, otp_app: :phoenix_app

  @websocket [
    connect_info: [:x_headers, :uri],
    error_handler: {PhoenixAppWeb.UserSocket, :handle_error, []}
  ]

  socket "/socket", PhoenixAppWeb.UserSocket, websocket: @websocket, auth_token: true
  socket "/plain", PhoenixAppWeb.UserSocket, websocket: @websocket
  socket "/idle", PhoenixAppWeb.UserSocket, websocket: [timeout: 1_000] ++ @websocket

  plug Plug.Parsers, parsers: [:json], json_decoder: Jason
  plug PhoenixAppWeb.Router
end
