---@meta mjtask
-- Types of the public interface, for editors (LuaCATS). Nothing here runs.

---@class mjtask.Task A task's own JSON, unknown fields included.
---@field id? string
---@field status? string SUCCESS, FAILURE, IN_PROGRESS …; an open set
---@field action? string
---@field progress? string such as "46%"
---@field prompt? string
---@field promptEn? string
---@field description? string
---@field failReason? string
---@field state? string what the submit gave
---@field submitTime? integer milliseconds since 1970, like startTime and finishTime
---@field startTime? integer
---@field finishTime? integer
---@field imageUrl? string a preview while the task runs
---@field buttons? mjtask.Button[]
---@field properties? table
---@field [string] any
---@field button fun(self, query: string|mjtask.ButtonQuery): mjtask.Button?, mjtask.Error?
---@field outcome fun(self: mjtask.Task): mjtask.Outcome?
---@field percent fun(self: mjtask.Task): number?
---@field images fun(self: mjtask.Task): string[]
---@field expires fun(self: mjtask.Task): integer?

---@class mjtask.Receipt What a submit was answered; tostring gives the id.
---@field id? string the new task's; nil for an upload
---@field ids string[]
---@field code integer 1, 22 (queued), 21 (exists already)
---@field description? string
---@field queue? integer how many are before it
---@field result any the wire's own
---@field properties? table

---@class mjtask.Error A failure of the world; one readable line by tostring.
---@field kind mjtask.Kind
---@field message string
---@field retryable boolean may the same call succeed later?
---@field status? integer HTTP's
---@field code? integer the server's own
---@field retry_after? number seconds
---@field id? string
---@field attempts? integer requests sent
---@field elapsed? number seconds
---@field task? mjtask.Task the last that was seen
---@field receipt? mjtask.Receipt with needs_input: of the task that waits for a modal

---@alias mjtask.Kind
---| "dns" | "connect" | "tls" | "timeout" | "stalled" | "http" | "auth" | "quota"
---| "rate_limited" | "not_found" | "redirect" | "decode" | "schema" | "too_large" | "busy"
---| "banned" | "rejected" | "unknown_fate" | "failed" | "cancelled" | "needs_input"
---| "no_button" | "ambiguous" | "no_image" | "unsupported" | "expired" | "not_image" | "io"
---| "aborted" | "closed"

---@class mjtask.CallOptions
---@field timeout? number seconds for the whole call
---@field request_timeout? number seconds for one try
---@field retries? integer further tries of one request
---@field interval? number seconds between looks, at first
---@field max_interval? number seconds between looks, at most
---@field stall? number seconds without a change that end a wait
---@field max_body? integer bytes

---@class mjtask.WaitOptions : mjtask.CallOptions
---@field progress? fun(task: mjtask.Task, percent?: number)

---@class mjtask.PressOptions : mjtask.CallOptions
---@field modal? { prompt?: string, mask?: string } the answer to a modal; the mask is a data URL

---@class mjtask.DownloadOptions : mjtask.CallOptions
---@field overwrite? boolean
---@field progress? fun(bytes: integer, total?: integer)

---@class mjtask.ClientOptions : mjtask.CallOptions
---@field provider? string a row of mjtask.providers
---@field url? string
---@field key? string
---@field auth? "auto"|"bearer"|"raw"|"mj-api-secret"|"none"
---@field headers? table<string, string>
---@field user_agent? string
---@field proxy? string
---@field cafile? string
---@field allow_http? boolean
---@field allow_private? boolean
---@field max_inflight? integer
---@field loop? mjtask.Loop
---@field trace? fun(event: table)

---@class mjtask.Operation A call under way, which was given a function.
---@field cancel fun(self: mjtask.Operation) `done` is told `aborted` by the next step
---@field done fun(self: mjtask.Operation): boolean has `done` been called?

---@class mjtask.Watcher
---@overload fun(): string?, mjtask.Task?, mjtask.Error?
---@field add fun(self: mjtask.Watcher, id: mjtask.Id): boolean false: it is watched already
---@field close fun(self: mjtask.Watcher)
---@field cancel fun(self: mjtask.Watcher) the same
---@field done fun(self: mjtask.Watcher): boolean has all been told?

---@alias mjtask.Id string|integer|table a table with an id: a task, a receipt
---@alias mjtask.Loop fun(client: mjtask.Client): table what a module of mjtask.loop gives

---@class mjtask.Client
local client = {} -- luacheck: ignore 241

---@param id mjtask.Id
---@param options? mjtask.CallOptions
---@return mjtask.Task? task
---@return mjtask.Error? err
---@overload fun(self, id: mjtask.Id, done: fun(task?: mjtask.Task, err?: mjtask.Error)): mjtask.Operation
---@overload fun(self, id: mjtask.Id, options?: mjtask.CallOptions, done: fun(task?: mjtask.Task, err?: mjtask.Error)): mjtask.Operation
function client:fetch(id, options) end

---@param ids mjtask.Id[]
---@param options? mjtask.CallOptions
---@return table<string, mjtask.Task>? tasks by id
---@return table<string, mjtask.Error>|mjtask.Error errors by id; or the one for which nothing could be asked
---@overload fun(self, ids: mjtask.Id[], options?: mjtask.CallOptions, done: fun(tasks?: table, errors: table)): mjtask.Operation
function client:fetch_many(ids, options) end

---@param id mjtask.Id
---@param options? mjtask.WaitOptions
---@return mjtask.Task? task
---@return mjtask.Error? err
---@overload fun(self, id: mjtask.Id, done: fun(task?: mjtask.Task, err?: mjtask.Error)): mjtask.Operation
---@overload fun(self, id: mjtask.Id, options?: mjtask.WaitOptions, done: fun(task?: mjtask.Task, err?: mjtask.Error)): mjtask.Operation
function client:wait(id, options) end

---@param ids mjtask.Id[]
---@param options? mjtask.WaitOptions
---@return mjtask.Watcher
---@overload fun(self, ids: mjtask.Id[], each: fun(id?: string, task?: mjtask.Task, err?: mjtask.Error)): mjtask.Watcher
---@overload fun(self, ids: mjtask.Id[], options?: mjtask.WaitOptions, each: fun(id?: string, task?: mjtask.Task, err?: mjtask.Error)): mjtask.Watcher
function client:watch(ids, options) end

---@param id mjtask.Id
function client:hint(id) end

---@param name string
---@param body table
---@param options? mjtask.CallOptions
---@return mjtask.Receipt? receipt
---@return mjtask.Error? err
---@overload fun(self, name: string, body: table, options?: mjtask.CallOptions, done: fun(receipt?: mjtask.Receipt, err?: mjtask.Error)): mjtask.Operation
function client:submit(name, body, options) end

---@param task_or_id mjtask.Task|mjtask.Id
---@param query string|mjtask.ButtonQuery
---@param options? mjtask.PressOptions
---@return mjtask.Receipt? receipt
---@return mjtask.Error? err
---@overload fun(self, task_or_id: mjtask.Task|mjtask.Id, query: string|mjtask.ButtonQuery, options?: mjtask.PressOptions, done: fun(receipt?: mjtask.Receipt, err?: mjtask.Error)): mjtask.Operation
function client:press(task_or_id, query, options) end

---@param id mjtask.Id
---@param options? mjtask.CallOptions
---@return true? cancelled
---@return mjtask.Error? err
---@overload fun(self, id: mjtask.Id, options?: mjtask.CallOptions, done: fun(cancelled?: true, err?: mjtask.Error)): mjtask.Operation
function client:cancel(id, options) end

---@param id mjtask.Id
---@param options? mjtask.CallOptions
---@return string? seed
---@return mjtask.Error? err
---@overload fun(self, id: mjtask.Id, options?: mjtask.CallOptions, done: fun(seed?: string, err?: mjtask.Error)): mjtask.Operation
function client:seed(id, options) end

---@param url_or_task string|mjtask.Task
---@param path string
---@param options? mjtask.DownloadOptions
---@return string? path
---@return mjtask.Error? err
---@overload fun(self, url_or_task: string|mjtask.Task, path: string, options?: mjtask.DownloadOptions, done: fun(path?: string, err?: mjtask.Error)): mjtask.Operation
function client:download(url_or_task, path, options) end

---@param seconds? number how long to wait for something to happen; nil: until it does
---@return boolean busy is anything still under way?
function client:step(seconds) end

---@return integer? fd readable when step(0) has work; nil: none here
function client:pollfd() end

---@return number? seconds that a host may sleep before step(0); nil: nothing is under way
function client:timeout() end

function client:close() end

local mjtask = {
  _VERSION = "scm",
  ---@type table<string, { url: string, auth?: string, interval?: number, change?: boolean }>
  providers = {},
}

---@param options? mjtask.ClientOptions
---@return mjtask.Client
function mjtask.new(options) end

---@param json string
---@param options? { strict?: boolean, null?: any, max_body?: integer }
---@return mjtask.Task? task
---@return mjtask.Error? err
function mjtask.decode(json, options) end

---@param task mjtask.Task
---@param query string|mjtask.ButtonQuery
---@return mjtask.Button? button
---@return mjtask.Error? err
function mjtask.button(task, query) end

---@param task mjtask.Task
---@param query? string|mjtask.ButtonQuery
---@return mjtask.Button[]
function mjtask.buttons(task, query) end

---@param task mjtask.Task
---@return mjtask.Outcome?
function mjtask.outcome(task) end

---@param task mjtask.Task
---@return number?
function mjtask.percent(task) end

---@param task mjtask.Task
---@return string[]
function mjtask.images(task) end

---@param task_or_url mjtask.Task|string
---@return integer?
function mjtask.expires(task_or_url) end

---@param bytes string
---@param mime? string
---@return string
function mjtask.data_url(bytes, mime) end

return mjtask
