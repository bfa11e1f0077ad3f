"""pluggy: hooks with several implementations, their order, wrappers, and mistakes found."""
import pluggy

spec, impl = pluggy.HookspecMarker("tool"), pluggy.HookimplMarker("tool")


class Spec:
    @spec
    def words(self, text):
        """Words of a text."""

    @spec(firstresult=True)
    def choose(self, options):
        """The first answer counts."""

    @spec(historic=True)
    def started(self, name):
        """Told to late ones, too."""


class Split:
    @impl
    def words(self, text):
        return text.split()

    @impl
    def choose(self, options):
        return None


class Upper:
    @impl(tryfirst=True)
    def words(self, text):
        return [text.upper()]

    @impl(trylast=True)
    def choose(self, options):
        return max(options)

    @impl
    def started(self, name):
        print("started:", name)


class Wrap:
    @impl(wrapper=True)
    def words(self, text):
        results = yield
        return [*results, [len(results)]]


manager = pluggy.PluginManager("tool")
manager.add_hookspecs(Spec)
manager.hook.started.call_historic(kwargs={"name": "early"})
for plugin in (Split(), Upper(), Wrap()):
    manager.register(plugin, name=type(plugin).__name__.lower())
print(manager.hook.words(text="a b"), manager.hook.choose(options=[3, 9, 4]))
calls = []
undo = manager.add_hookcall_monitoring(lambda name, impls, kwargs: calls.append((name, [i.plugin_name for i in impls])), lambda *a: None)
manager.hook.words(text="c")
undo()
print(calls, sorted(name for name, _ in manager.list_name_plugin()))
manager.unregister(name="split")
manager.set_blocked("blocked")
print(manager.hook.words(text="a b"), manager.register(object(), "blocked"), manager.subset_hook_caller("words", [manager.get_plugin("wrap")])(text="x"))


class Wrong:
    @impl
    def words(self, text, nonsense):
        pass


try:
    manager.register(Wrong(), "wrong")
except pluggy.PluginValidationError as error:
    print(str(error).splitlines()[0][:60])
