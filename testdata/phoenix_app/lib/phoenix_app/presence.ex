defmodule PhoenixApp.Presence do
  @moduledoc false

  use Phoenix.Presence, otp_app: :phoenix_app, pubsub_server: PhoenixApp.PubSub
end
