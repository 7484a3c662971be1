defmodule PhoenixAppWeb.Router do
  use Phoenix.Router

  scope "/", PhoenixAppWeb do
    get "/health", ControlController, :health
    post "/broadcast", ControlController, :broadcast
    post "/disconnect", ControlController, :disconnect
  end
end
