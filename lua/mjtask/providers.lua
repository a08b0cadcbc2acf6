-- The servers we know by name: data only. A script may add rows of its own.

return {
  -- openapi.sku.vip, its page "9.查询接口" (in the seeds): the key raw in Authorization
  sku = { url = "https://openapi.sku.vip", auth = "raw", interval = 5 },
  -- docs.pawmaas.com: Bearer. Its answers are those of a new-api gateway, which looks at its own
  -- upstream only every 15 s: asking more often gains nothing
  pawmaas = { url = "https://api.pawmaas.com", auth = "bearer", interval = 15 },
}
